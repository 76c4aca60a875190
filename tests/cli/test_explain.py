"""`fastlb explain`, of a file and of a running program, and the route of the API behind it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fastlb.admin import shapes_explain as shapes
from fastlb.cli import main
from tests.admin.conftest import Fastlb, Origins, Start
from tests.admin.test_api import fits

FILE = """
[frontends.web]
listen = ":8080"
backend = "app"

[[frontends.web.routes]]
name = "api"
host = "api.example.com"
path = "/v1/*"
backend = "app"
rewrite = { strip_prefix = "/v1" }
request_headers = { set = { X-Api = "1" }, remove = "User-Agent" }

[[frontends.web.routes]]
path = "/old"
redirect = "/new"

[backends.app]
balance = { algorithm = "consistent_hash", key = "header:X-User" }
servers = [
    { name = "web1", address = "127.0.0.1:1", weight = 3 },
    { name = "web2", address = "127.0.0.1:2" },
    { name = "web3", address = "127.0.0.1:3", backup = true },
]
"""


def run(*arguments: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(main, arguments, prog_name="fastlb", env={"FASTLB_SOCKET": None, **(env or {})})


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "fastlb.toml"
    path.write_text(FILE)
    return str(path)


def test_of_a_file(file: str) -> None:
    result = run(
        "explain", "GET", "http://api.example.com:8080/v1/x?a=1", "-H", "User-Agent: curl", "-H", "X-User: joe",
        "--from", "192.0.2.7", "-c", file,
    )  # fmt: skip
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "proxied: goes to app/web1",
        "",
        "frontend    web on :8080, client 192.0.2.7",
        "route       api",
        "rules       forwarded: write x_forwarded_for, x_forwarded_proto",
        "            route api: path: strip /v1",
        "            route api: remove User-Agent",
        "            route api: set X-Api: 1",
        "",
        "- GET /v1/x?a=1 HTTP/1.1",
        "  Host: api.example.com:8080",
        "- User-Agent: curl",
        "  X-User: joe",
        "+ GET /x?a=1 HTTP/1.1",
        "+ X-Forwarded-For: 192.0.2.7",
        "+ X-Forwarded-Proto: http",
        "+ X-Api: 1",
        "",
        "backend     app, consistent_hash (maglev) (a configuration that does not run: servers taken as up and idle)",
        "key         header:X-User: 'joe', hash 45926168cefb65d5",
        "   server  state  weight    in flight  score  share  why",
        "→  web1    UP     3                 0          100%  the key belongs to it",
        "   web2    UP     1                 0                the key belongs to web1",
        "   web3    UP     1 backup          0                a backup, and a primary is up",
        "if it fails: web2, then web3",
    ]


def test_other_outcomes(file: str) -> None:
    lines = run("explain", "GET", "/old", "-c", file).stdout.splitlines()
    assert lines[0] == "redirected: 302 to /new by the route's redirect" and "  HTTP/1.1 302 Found" in lines
    assert "            not api: host is localhost, not api.example.com; path is /old, not /v1/*" in lines
    lines = run("explain", "GET", "/x", "-c", file).stdout.splitlines()
    assert lines[0].startswith("proxied") and "key         header:X-User: none in this request" in lines
    assert run("explain", "G@T", "/x", "-c", file).stdout.splitlines()[0] == "refused (400): invalid method"


def test_json_of_a_file(file: str) -> None:
    result = run("explain", "GET", "/x", "-c", file, "--json")
    told = json.loads(result.stdout)
    fits(shapes.ExplanationView, told)
    assert told["route"] == "default" and told["balance"]["picked"] and not told["live"]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("GET", "x"), "'x' is neither a URL such as http://host/path nor a path"),
        (("GET", "/", "--from", "me"), "'me' is not an address"),
        (("GET", "/", "-H", "nothing"), "'nothing': must be 'Name: value'"),
        (("GET",), "'GET' is neither a URL"),
        (("udp://127.0.0.1:53",), "no frontend listens on port 53"),
        (("GET", "/", "--frontend", "wed"), "there is no HTTP frontend 'wed' (there are web)"),
    ],
)
def test_wrong_questions(file: str, arguments: tuple[str, ...], error: str) -> None:
    result = run("explain", *arguments, "-c", file)
    assert result.exit_code == 2 and error in result.stderr


DATAGRAMS = """
[frontends.dns]
listen = "127.0.0.1:5300"
mode = "udp"
backend = "resolvers"
udp = { responses = 1, idle = "5s" }

[frontends.syslog]
listen = "127.0.0.1:5140"
mode = "udp"
backend = "resolvers"
udp = { flow = "packet", responses = 0 }

[backends.resolvers]
mode = "udp"
balance = { algorithm = "consistent_hash", key = "ip" }
servers = ["127.0.0.1:53", "127.0.0.2:53"]
"""


def test_of_a_datagram(tmp_path: Path) -> None:
    path = tmp_path / "udp.toml"
    path.write_text(DATAGRAMS)
    told = {}
    for client in ("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "::1"):
        result = run("explain", "udp://127.0.0.1:5300", "--from", client, "-c", str(path), "--json")
        told[client] = json.loads(result.stdout)
        fits(shapes.ExplanationView, told[client])
        assert told[client]["outcome"] == "proxied"
        assert told[client]["balance"]["key"] == client
    assert {one["balance"]["picked"] for one in told.values()} == {"127.0.0.1:53", "127.0.0.2:53"}
    assert "over after 1 answer to each or 5 s of silence" in told["::1"]["rules"][0]["what"]
    result = run("explain", "udp://localhost", "--frontend", "syslog", "-c", str(path))
    assert "each datagram goes to a server by itself; no answers are awaited" in result.stdout


def test_of_a_wrong_file(tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text("[frontends.web]\nlisten = 3\n")
    result = run("explain", "GET", "/", "-c", str(path))
    assert result.exit_code == 2 and "frontends.web.listen" in result.stderr


def test_of_a_running_one(fastlb: Start, origins: Origins) -> None:
    lb = fastlb(*origins.servers, backend={"balance": "least_connections"})
    socket = str(lb.unix.place)
    assert lb.admin.patch("app/s1", state="drain").status == 200
    result = run("explain", "GET", f"http://127.0.0.1:{lb.ports['web']}/", "--json", env={"FASTLB_SOCKET": socket})
    told = json.loads(result.stdout)
    fits(shapes.ExplanationView, told)
    assert told["live"] and told["text"] == "goes to app/s2"
    assert {one["name"]: (one["state"], one["why"]) for one in told["balance"]["servers"]} == {
        "s1": ("DRAIN", "drained by the operator"),
        "s2": ("UP", "it has the least in flight for its weight; ties take turns"),
    }
    result = run("explain", "GET", "/", "--frontend", "nope", "--socket", socket)
    assert result.exit_code == 2 and "there is no HTTP frontend 'nope'" in result.stderr


def test_asking_needs_no_token_but_sense(shared: Fastlb) -> None:
    answer = shared.api.ask("/v1/explain", "POST", {"url": "/"})
    assert answer.status == 200 and answer.json["outcome"] == "proxied"
    fits(shapes.ExplanationView, answer.json)
    for wrong in ({}, {"url": "/", "more": 1}, {"url": "nonsense"}, {"url": "/", "client": "x"}, {"url": "/\n"}):
        assert shared.api.ask("/v1/explain", "POST", wrong).status == 422, wrong


def test_nobody_there(tmp_path: Path) -> None:
    result = run("explain", "GET", "/", "--socket", str(tmp_path / "none.sock"))
    assert result.exit_code == 1 and "there is no such socket" in result.stderr
    result = run("explain", "GET", "/", "--socket", "/x", "--url", "http://x")
    assert result.exit_code == 2
