"""`fastlb ctl` against a running fastlb: what is shown, what is changed, exit statuses, where it is found."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from fastlb.cli import main
from tests.admin.conftest import TOKEN, Fastlb, Origins, launcher
from tests.helpers import ROOT, Program, free_port, wait_until

CLEAN = {f"FASTLB_{name}": None for name in ("SOCKET", "URL", "CONFIG", "TOKEN", "TOKEN_FILE")}


def run(*arguments: str, stdin: str | None = None, **env: str) -> Result:
    return CliRunner().invoke(main, arguments, prog_name="fastlb", input=stdin, env={**CLEAN, **env})


class Site:
    """A running fastlb with two origins, and `fastlb ctl` for it."""

    def __init__(self, lb: Fastlb, origins: Origins, folder: Path) -> None:
        self.lb = lb
        self.origins = origins
        self.folder = folder
        self.file = str(folder / "fastlb.toml")
        self.socket = str(lb.unix.place)

    def ctl(self, *arguments: str, status: int = 0, stdin: str | None = None) -> str:
        """Standard output; standard error where the status is not 0."""
        result = run("ctl", "--socket", self.socket, *arguments, stdin=stdin)
        assert result.exit_code == status, (result.exit_code, result.stdout, result.stderr)
        return result.stderr if status else result.stdout

    def rows(self, *arguments: str) -> list[list[str]]:
        """The cells of a table, without its head."""
        return [re.split(r" {2,}", line) for line in self.ctl(*arguments).splitlines()[1:]]

    def json(self, *arguments: str) -> Any:
        return json.loads(self.ctl(*arguments, "--json"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One for all tests here; each leaves the servers as they were."""
    running: list[Program] = []

    def start(*arguments: Any, **options: Any) -> Program:
        running.append(Program(*arguments, **options))
        return running[-1]

    origins = Origins(2)
    folder = tmp_path_factory.mktemp("ctl")
    route = {"name": "old", "host": "a.example", "path": ["/old", "/older/*"], "redirect": "/new"}
    try:
        lb = launcher(start, folder)(
            *origins.servers,
            frontend={"routes": [route]},
            log={"access": str(folder / "access.log")},
            **{"global": {"workers": 2, "overlay": "overlay.toml"}},
        )
        yield Site(lb, origins, folder)
    finally:
        for program in running:
            program.stop()
        origins.close()


# ---- what is shown


@pytest.mark.parametrize(
    ("arguments", "path", "key"),
    [
        (("show", "info"), "/v1/info", "workers"),
        (("show", "frontends"), "/v1/frontends", "frontends"),
        (("show", "backends"), "/v1/backends", "backends"),
        (("show", "servers"), "/v1/servers", "servers"),
        (("show", "servers", "app"), "/v1/backends/app/servers", "servers"),
        (("show", "routes"), "/v1/routes", "routes"),
        (("show", "workers"), "/v1/workers", "workers"),
        (("show", "connections"), "/v1/connections", "connections"),
        (("show", "errors"), "/v1/errors", "errors"),
        (("show", "changes"), "/v1/changes", "changes"),
        (("show", "config"), "/v1/config", "backends"),
        (("show", "events"), "/v1/events", "events"),
        (("events",), "/v1/events", "events"),
        (("errors",), "/v1/errors", "errors"),
        (("logs",), "/v1/logs", "lines"),
        (("server", "show", "app/s1"), "/v1/backends/app/servers/s1", "state"),
    ],
)
def test_json_is_what_the_api_says(site: Site, arguments: tuple[str, ...], path: str, key: str) -> None:
    told = site.json(*arguments)
    asked = site.lb.unix.get(path)
    assert told.keys() == asked.keys() and key in told
    assert len(site.ctl(*arguments).splitlines()) >= (0 if key == "lines" else 1)


def test_tables_for_people(site: Site) -> None:
    s1, s2 = (one["address"] for one in site.origins.servers)
    rows = site.rows("show", "servers")
    assert [row[:3] for row in rows] == [["app/s1", s1, "UP"], ["app/s2", s2, "UP"]]
    assert site.rows("show", "frontends")[0][:3] == ["web", "http", f"127.0.0.1:{site.lb.ports['web']}"]
    assert site.rows("show", "backends")[0][:4] == ["app", "UP", "2 UP", "two_choices"]
    assert site.rows("show", "routes") == [
        ["web", "old", "a.example /old /older/*", "redirect 302 /new"],
        ["web", "default", "(the rest)", "app"],
    ]
    assert [row[:3] for row in site.rows("show", "workers")] == [
        [str(n), str(pid), "ready"] for n, pid in enumerate(site.lb.workers())
    ]
    info = site.ctl("show", "info")
    assert re.match(r"fastlb \S+, ready, pid \d+, up \d", info) and "configuration 1 from" in info
    assert "\x1b" not in info  # not a terminal
    config = site.ctl("show", "config")
    assert "[[backends.app.servers]]\n" in config and 'path = ["/old", "/older/*"]' in config and TOKEN not in config


def test_colours_are_for_terminals(site: Site) -> None:
    result = CliRunner().invoke(main, ["ctl", "--socket", site.socket, "show", "servers"], color=True, env=CLEAN)
    assert "\x1b[32mUP\x1b[0m" in result.stdout


def test_connections(site: Site) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", site.lb.ports["web"], timeout=20)
    idle = socket.create_connection(("127.0.0.1", site.lb.ports["web"]))
    try:
        connection.request("GET", "/hold/this")
        wait_until(lambda: [c["state"] for c in site.json("show", "connections")["connections"]] == ["waiting", "idle"])
        told = site.json("show", "connections")
        assert told["total"] == 2
        busy, other = told["connections"]
        assert busy["client_port"] == connection.sock.getsockname()[1]
        assert (busy["frontend"], busy["client"], busy["tls"]) == ("web", "127.0.0.1", False)
        request = busy["request"]
        assert (request["line"], request["backend"], request["attempts"]) == ("GET /hold/this HTTP/1.1", "app", 1)
        assert request["server"] in ("s1", "s2") and request["seconds"] > 0
        assert (other["client_port"], other["request"]) == (idle.getsockname()[1], None)
        lines = site.ctl("show", "connections", "--state", "waiting").splitlines()
        assert "GET /hold/this HTTP/1.1" in lines[1] and lines[2] == "1 of 2 connections"
        assert site.json("show", "connections", "--frontend", "other")["connections"] == []
    finally:
        site.origins.release()
        connection.getresponse().read()
        connection.close()
        idle.close()


def test_malformed_messages_with_the_place(site: Site) -> None:
    with socket.create_connection(("127.0.0.1", site.lb.ports["web"])) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nBad Name: \x1b[31m\r\n\r\n")
        assert b" 400 " in sock.recv(4096)
    lines = site.ctl("errors").splitlines()
    assert lines[0].startswith("request of web: ")
    assert "client 127.0.0.1:" in lines[1] and "answered 400" in lines[1]
    assert lines[2:] == [
        r"       0  GET / HTTP/1.1\r\n",
        r"      16  Host: a\r\n",
        r"      25  Bad Name: \x1b[31m\r\n",
        "             ^",
        r"      42  \r\n",
    ]


# ---- what is changed


def test_servers(site: Site) -> None:
    s1 = site.origins.servers[0]["address"]
    assert site.ctl("server", "drain", "app/s1", "app/s2", "--reason", "work") == (
        "app/s1: DRAIN, weight 1, 0 in flight\napp/s2: DRAIN, weight 1, 0 in flight\n"
    )
    assert "set to drain by the operator: work" in site.ctl("show", "servers")
    assert site.lb.request() == 503
    assert site.json("server", "maint", f"app/{s1}")["servers"][0]["state"] == "MAINT"
    site.ctl("server", "ready", "app/s1", "app/s2")
    assert site.lb.request() == 200
    site.ctl("server", "weight", "app/s1", "7")
    site.ctl("server", "limit", "app/s1", "9")
    one = site.json("server", "show", "app/s1")
    assert (one["weight"], one["max_connections"]) == (7, 9)
    assert "9" in site.ctl("server", "show", "app/s1")
    assert [row[2] for row in site.rows("show", "changes")] == ["weight 7, max_connections 9"]

    port = free_port()
    assert "is added" in site.ctl(
        "server", "add", "app", f"127.0.0.1:{port}", "--name", "s3", "--weight", "0", "--backup"
    )
    assert "4 changes" not in site.ctl("save") and "s3" in (site.folder / "overlay.toml").read_text()
    assert [row[0] for row in site.rows("show", "servers")] == ["app/s1", "app/s2", "app/s3"]
    assert "is removed" in site.ctl("server", "remove", "app/s3")
    assert "as the configuration has it" in site.ctl("server", "forget", "app/s1")
    assert site.ctl("show", "changes") == "everything is as the configuration has it\n"


def test_all_servers_of_a_backend(site: Site) -> None:
    assert site.ctl("backend", "maint", "app").count("MAINT") == 2
    assert site.ctl("backend", "ready", "app").count("UP") == 2
    assert "no backend" in site.ctl("backend", "drain", "nope", status=2)


def test_waiting_for_what_is_in_flight(site: Site) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", site.lb.ports["web"], timeout=20)
    connection.request("GET", "/hold/that")
    busy: list[str] = []

    def held() -> bool:
        busy[:] = [f"app/{one['name']}" for one in site.json("show", "servers")["servers"] if one["in_flight"]]
        return bool(busy)

    try:
        wait_until(held, what="a request in flight")
        assert f"still in flight after 0.1 s: {busy[0]}" in site.ctl(
            "server", "drain", busy[0], "--wait", "100ms", status=1
        )
    finally:
        site.origins.release()
        assert connection.getresponse().read()
        connection.close()
    site.ctl("server", "drain", busy[0], "--wait", "20s")
    site.ctl("server", "ready", busy[0])


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (("server", "drain", "app/s9"), 2, "Backend 'app' has no server 's9'"),
        (("server", "drain", "app"), 2, "must be BACKEND/SERVER"),
        (("server", "weight", "app/s1", "70000"), 2, "70000"),
        (("server", "add", "nope", "127.0.0.1:1"), 2, "there is no backend nope"),
        (("server", "add", "app", "nonsense"), 2, "must be HOST:PORT"),
        (("server", "add", "app", "127.0.0.1:1", "--name", "s1"), 1, "has a server called s1 already"),
        (("show", "servers", "nope"), 2, "There is no backend 'nope'"),
        (("confirm",), 1, "no reload waits"),
        (("revert",), 1, "no reload waits"),
        (("reload", "--confirm", "soon"), 2, "'soon'"),
    ],
)
def test_what_does_not_work(site: Site, arguments: tuple[str, ...], status: int, text: str) -> None:
    assert text in site.ctl(*arguments, status=status)


def test_of_several_servers_the_right_ones_are_changed(site: Site) -> None:
    result = run("ctl", "--socket", site.socket, "server", "drain", "app/s9", "app/s1")
    assert result.exit_code == 2 and "app/s1: DRAIN" in result.stdout and "s9" in result.stderr
    site.ctl("server", "ready", "app/s1")


def test_reload_diff_confirm_and_revert(site: Site) -> None:
    path = Path(site.file)
    before = path.read_text()
    assert site.ctl("diff") == "0 differences\n"
    after = before.replace('"name" = "s2"', '"name" = "s2", "weight" = 5')
    assert after != before
    try:
        # before the file is written: what it would change
        assert "weight 1 -> 5" in site.ctl("diff", "-c", "-", stdin=after)
        path.write_text(after)
        result = run("diff", "-c", site.file)  # which says where to ask as well
        assert result.exit_code == 0 and "weight 1 -> 5" in result.stdout
        assert site.json("server", "show", "app/s2")["weight"] == 1

        result = run("reload", "-c", site.file, "--confirm", "1h")
        assert result.exit_code == 0 and "unless this is confirmed" in result.stdout
        assert site.json("server", "show", "app/s2")["weight"] == 5
        assert "is back" in site.ctl("revert")
        assert site.json("server", "show", "app/s2")["weight"] == 1
        assert site.json("reload", "--confirm", "3600")["confirm_within"] == 3600
        assert "stays" in site.ctl("confirm")
        assert site.json("server", "show", "app/s2")["weight"] == 5

        path.write_text(after.replace("two_choices", "x") + '["nonsense"]\n')
        assert "nonsense" in site.ctl("reload", status=2)
        other = site.folder / "other.toml"
        other.write_text(before)
        result = run("reload", "-c", str(other))
        assert result.exit_code == 2 and "which is what a reload would read" in result.stderr
    finally:
        path.write_text(before)
        site.ctl("reload")
    assert "nothing" not in run("diff", "-c", str(site.folder / "none.toml"), "--socket", site.socket).stdout
    assert run("diff", "-c", str(site.folder / "none.toml"), "--socket", site.socket).exit_code == 2


def test_explain_is_a_command_of_ctl_too(site: Site) -> None:
    assert site.json("explain", "GET", "/")["live"]


# ---- what goes on


def follow(site: Site, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "fastlb", "ctl", "--socket", site.socket, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "FASTLB_URL": ""},
        # whoever runs the tests in the background has them ignore it, and all that they start
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def interrupted(program: subprocess.Popen[str]) -> None:
    program.send_signal(signal.SIGINT)
    _, errors = program.communicate(timeout=20)
    assert (program.returncode, errors) == (130, "")


def test_following_the_log(site: Site) -> None:
    site.lb.request("/first")
    wait_until(lambda: "/first" in site.ctl("logs", "-n", "1"), what="the line")
    program = follow(site, "logs", "-f", "-n", "1")
    assert program.stdout is not None
    assert json.loads(program.stdout.readline())["target"] == "/first"
    site.lb.request("/second")
    assert json.loads(program.stdout.readline())["target"] == "/second"
    interrupted(program)


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_following_events(site: Site, options: tuple[str, ...]) -> None:
    program = follow(site, "events", "-f", "-n", "1", *options)
    assert program.stdout is not None
    program.stdout.readline()
    site.ctl("server", "drain", "app/s1", "--reason", "to be seen")
    line = program.stdout.readline()
    assert "to be seen" in line and bool(options) == line.startswith("{")
    site.ctl("server", "ready", "app/s1")
    interrupted(program)


# ---- where it is


def test_where_to_ask(site: Site, tmp_path: Path) -> None:
    url = site.lb.api.url
    secret = tmp_path / "token"
    secret.write_text(TOKEN + "\n")
    config = tmp_path / "only-tcp.toml"
    port = site.lb.api.place[1]
    config.write_text(f'[admin]\nlisten = ":{port}"\ntoken = "file:{secret}"\n[frontends.web]\nwrong = true\n')
    for arguments, env in (
        (("ctl", "--url", url), {}),
        (("ctl", "--url", url.removeprefix("http://")), {}),
        (("ctl", "-c", site.file), {}),
        (("ctl", "-c", str(config)), {}),
        (("ctl",), {"FASTLB_URL": url}),
        (("ctl",), {"FASTLB_SOCKET": site.socket}),
        (("ctl",), {"FASTLB_CONFIG": site.file}),
        (("ctl", "--socket", site.socket), {"FASTLB_URL": "http://127.0.0.1:1"}),
    ):
        result = run(*arguments, "show", "info", "--json", **env)
        assert result.exit_code == 0, (arguments, result.stderr)
        assert json.loads(result.stdout)["pid"] == site.lb.program.pid
    # behind the command as well
    assert run("ctl", "show", "info", "-c", site.file).exit_code == 0

    # who may see what clients sent
    assert run("ctl", "--url", url, "errors").exit_code == 1
    assert "needs the token" in run("ctl", "--url", url, "errors").stderr
    for arguments, env in (
        (("--url", url, "--token", TOKEN), {}),
        (("--url", url, "--token-file", str(secret)), {}),
        (("--url", url), {"FASTLB_TOKEN": TOKEN}),
        (("--url", url), {"FASTLB_TOKEN_FILE": str(secret)}),
        (("-c", str(config)), {}),
    ):
        assert run("ctl", *arguments, "errors", **env).exit_code == 0, arguments
    assert run("ctl", "--url", url, "--token", "wrong", "server", "drain", "app/s1").exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (("--socket", "{tmp}/none.sock"), 1, "there is no such socket; does fastlb run"),
        (("--socket", "{tmp}/stale.sock"), 1, "nothing listens there"),
        (("--url", "http://127.0.0.1:{port}"), 1, "nothing listens there"),
        (("--url", "ftp://x"), 1, "not an http or https URL"),
        (("-c", "{tmp}/none.toml"), 2, "none.toml: No such file"),
        (("-c", "{tmp}/empty.toml"), 2, "has no admin.socket and no admin.listen"),
        (("-c", "{tmp}/broken.toml"), 2, "give --socket or --url instead"),
        (("--url", "http://127.0.0.1:1", "--token-file", "{tmp}/none"), 2, "none: No such file"),
        (("--url", "x", "--socket", "y"), 2, "--socket and --url exclude each other"),
    ],
)
def test_nobody_there(tmp_path: Path, arguments: tuple[str, ...], status: int, text: str) -> None:
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(tmp_path / "stale.sock"))
    stale.close()
    (tmp_path / "empty.toml").write_text("[frontends.web]\n")
    (tmp_path / "broken.toml").write_text("[admin\n")
    given = [argument.format(tmp=tmp_path, port=free_port()) for argument in arguments]
    result = run("ctl", *given, "show", "info")
    assert (result.exit_code, result.stdout) == (status, "") and text in result.stderr
    assert "Traceback" not in result.stderr


def test_a_socket_for_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fastlb.cli import client

    def refuse(self: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(client._UnixConnection, "connect", refuse)
    result = run("ctl", "--socket", "/x", "show", "info")
    assert result.exit_code == 1 and "permission denied; the socket is for its owner" in result.stderr


def test_something_else_there(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        import threading

        def speak() -> None:
            peer, _ = server.accept()
            with peer:
                peer.recv(1000)
                peer.sendall(b"SSH-2.0-x\r\n")

        thread = threading.Thread(target=speak)
        thread.start()
        result = run("ctl", "--url", f"http://127.0.0.1:{server.getsockname()[1]}", "show", "info")
        thread.join()
    assert result.exit_code == 1 and "Traceback" not in result.output and "SSH" in result.stderr


# ---- completion


def completed(shell: str, line: list[str], env: dict[str, str]) -> str:
    *words, last = line
    variables = {"_FASTLB_COMPLETE": f"{shell}_complete", **CLEAN, **env}
    if shell == "fish":
        variables |= {"COMP_WORDS": " ".join(["fastlb", *words]), "COMP_CWORD": last}
    else:
        variables |= {"COMP_WORDS": " ".join(["fastlb", *words, last]), "COMP_CWORD": str(len(line))}
    return CliRunner().invoke(main, [], prog_name="fastlb", env=variables).output


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(site: Site, shell: str) -> None:
    env = {"FASTLB_SOCKET": site.socket}
    names = completed(shell, ["ctl", "server", "drain", "app/"], env)
    assert "app/s1" in names and "app/s2" in names
    assert "app/s2" in completed(shell, ["ctl", "server", "drain", "app/s1", "app/s2"], env)
    names = completed(shell, ["ctl", "--socket", site.socket, "server", "weight", "app/s1"], {})
    assert "app/s1" in names and "app/s2" not in names
    assert "app" in completed(shell, ["ctl", "show", "servers", ""], env)
    assert "drain" in completed(shell, ["ctl", "server", ""], env)
    # nobody there: nothing, and no error
    assert completed(shell, ["ctl", "server", "drain", "app/"], {"FASTLB_SOCKET": "/none"}).strip() == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_each_shell(shell: str) -> None:
    code = "import sys; from fastlb.cli import main; main(prog_name='fastlb')"
    env = {**os.environ, "_FASTLB_COMPLETE": f"{shell}_source"}
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert "_FASTLB_COMPLETE" in result.stdout
