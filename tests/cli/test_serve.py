"""`fastlb serve`: what it hands to the runtime, what it prints, and a whole run with real processes."""

from __future__ import annotations

import http.server
import signal
import threading
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import fastlb.runtime.demo
import fastlb.runtime.supervisor
from fastlb.cli import main
from fastlb.cli.reading import FileSource
from fastlb.config.cpus import usable_cpus
from fastlb.errors import FastlbError
from fastlb.runtime.info import RuntimeInfo
from fastlb.spec import Address, Balance, HealthCheck, Spec
from tests.config.samples import MINIMAL
from tests.helpers import FASTLB, Program, free_port

Banner = Callable[[Spec, RuntimeInfo], None]


class Runtime:
    """Stands in for the runtime: notes what it is given and prints the banner as the real one does."""

    def __init__(self) -> None:
        self.spec: Spec | None = None
        self.demo: dict[str, object] = {}
        self.error: Exception | None = None
        self.source: FileSource | None = None

    def serve(self, spec: Spec, *, banner: Banner, extras: Sequence[object], source: FileSource | None) -> int:
        self.spec = spec
        self.source = source
        self.extras = extras
        if self.error:
            raise self.error
        banner(spec, RuntimeInfo(1, spec.global_.workers, "uvloop", 1024, 480, {"web": [("0.0.0.0", 8080)]}))
        return 0

    def serve_demo(self, *, listen: Sequence[Address], balance: Balance | None, workers: int, banner: Banner) -> int:
        self.demo = {"listen": listen, "balance": balance, "workers": workers}
        return 0


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Runtime:
    found = Runtime()
    monkeypatch.setattr(fastlb.runtime.supervisor, "serve", found.serve)
    monkeypatch.setattr(fastlb.runtime.demo, "serve_demo", found.serve_demo)
    return found


def serve(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["serve", *arguments], prog_name="fastlb")


def test_a_file(runtime: Runtime, tmp_path: Path) -> None:
    file = tmp_path / "fastlb.toml"
    file.write_text("[global]\nworkers = 3\nmax_connections = 7\n" + MINIMAL)
    result = serve("-c", str(file))
    assert (result.exit_code, result.stdout) == (0, "")
    assert runtime.spec is not None
    assert (runtime.spec.global_.workers, runtime.spec.source) == (3, str(file))
    assert result.stderr.startswith("fastlb ")
    assert serve("-c", str(file), "--workers", "0").exit_code == 0
    assert (runtime.spec.global_.workers, runtime.spec.global_.max_connections) == (0, 7)
    assert serve("-c", str(file), "--workers", "auto").exit_code == 0
    assert runtime.spec.global_.workers == usable_cpus()


def test_a_wrong_file_starts_nothing(runtime: Runtime, tmp_path: Path) -> None:
    file = tmp_path / "fastlb.toml"
    file.write_text(MINIMAL.replace("listen", "lisen"))
    result = serve("-c", str(file))
    assert (result.exit_code, result.stdout, runtime.spec) == (2, "", None)
    assert result.stderr == f'{file}:2: frontends.web.lisen = ":8080": unknown key; did you mean "listen"?\n'


def test_warnings_come_before_the_banner(runtime: Runtime, tmp_path: Path) -> None:
    file = tmp_path / "fastlb.toml"
    file.write_text(MINIMAL + '[backends.spare]\nservers = ["10.0.0.2:80"]\n')
    result = serve("-c", str(file))
    assert result.exit_code == 0
    assert result.stderr.splitlines()[0].startswith(f"{file}:6: warning: backends.spare: ")


def test_servers_without_a_file(runtime: Runtime) -> None:
    result = serve("--to", "10.0.0.1:80", "--to", "[::1]:81", "--balance", "round_robin", "--workers", "2")
    assert result.exit_code == 0, result.output
    assert runtime.spec is not None
    (web,), (servers,) = runtime.spec.frontends, runtime.spec.backends
    assert [str(listener.address) for listener in web.listen] == [":8080"]
    assert [server.address for server in servers.servers] == [Address("10.0.0.1", 80), Address("::1", 81)]
    assert (servers.balance.algorithm, servers.health_check) == ("round_robin", HealthCheck(type="tcp"))
    assert (web.backend, runtime.spec.global_.workers) == (servers.name, 2)


def test_several_listeners(runtime: Runtime) -> None:
    assert serve("--listen", ":80", "--listen", "127.0.0.1:81", "--to", "a:1").exit_code == 0
    assert runtime.spec is not None
    assert [listener.address for listener in runtime.spec.frontends[0].listen] == [
        Address("", 80),
        Address("127.0.0.1", 81),
    ]


def test_problems_of_options_are_named_by_the_option(runtime: Runtime) -> None:
    result = serve("--listen", ":80", "--listen", "*:80", "--to", "a:1", "--to", "a:1")
    assert (result.exit_code, runtime.spec) == (2, None)
    assert result.stderr.splitlines() == [
        '--to = "a:1": the same address as that of server [0]',
        '--listen = "*:80": is already listened on by frontends.web.listen[0]',
    ]


def test_the_demonstration(runtime: Runtime) -> None:
    assert serve("--demo").exit_code == 0
    assert runtime.demo == {"listen": [], "balance": None, "workers": 1}
    assert serve("--demo", "--listen", ":1", "--balance", "random", "--workers", "0").exit_code == 0
    assert runtime.demo == {"listen": [Address("", 1)], "balance": Balance("random"), "workers": 0}


def test_an_error_of_the_runtime_is_one_line(runtime: Runtime) -> None:
    runtime.error = FastlbError("the worker did not start")
    result = serve("--to", "a:1")
    assert (result.exit_code, result.stderr) == (1, "Error: the worker did not start\n")


# with real processes


@pytest.fixture
def origin() -> Iterator[int]:
    """Port of an HTTP server that answers with its path."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.path.encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_whole_run(origin: int, workers: str) -> None:
    listen = f"127.0.0.1:{free_port()}"
    command = [*FASTLB, "serve", "--listen", listen, "--to", f"127.0.0.1:{origin}", "--workers", workers]
    with Program(command) as program:
        program.wait_line("fastlb ready: ", timeout=20)
        with urllib.request.urlopen(f"http://{listen}/hello", timeout=10) as response:
            assert response.read() == b"/hello"
        program.send(signal.SIGTERM)
        assert program.wait(timeout=40) == 0
        assert f"web       http  {listen}" in program.output
        assert '"/hello"' in program.output  # the access log, on standard output


def test_an_address_in_use_ends_it_with_status_1(origin: int) -> None:
    listen = f"127.0.0.1:{origin}"
    with Program([*FASTLB, "serve", "--listen", listen, "--to", listen, "--workers", "1"]) as program:
        assert program.wait(timeout=20) == 1
        assert f'frontends.web.listen[0] = "{listen}": ' in program.output
        assert "Traceback" not in program.output
