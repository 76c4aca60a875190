"""`fastlb top`: what it draws at every size, what keys do, and the whole of it in a real terminal."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fastlb.cli.client import ApiFailure
from fastlb.cli.top_data import Change, Counted, Feed, News, Row, Snapshot, fetch
from fastlb.cli.top_view import SMALLEST, SORTS, Ui, draw
from tests.admin.conftest import Origins, Start
from tests.helpers import ROOT, need, wait_until


def server(backend: str, name: str, number: int, **more: Any) -> Row:
    rate, errors = more.pop("rate", 0.0), more.pop("errors", 0.0)
    told = {
        "backend": backend,
        "name": name,
        "address": f"10.0.0.{number}:80",
        "state": "UP",
        "reason": "",
        "effective_weight": 1,
        "in_flight": 0,
        "latency": {"recent": {"p50": 0.001, "p99": 0.002}, "overall": {}},
        **more,
    }
    return Row(told, rate, errors)


def snapshot(*servers: Row, **info: Any) -> Snapshot:
    quantiles = {"recent": None, "overall": {"p50": 0.001, "p99": 0.5}}
    frontends = [
        Row({"name": f"in{n}", "listen": [f":{n}"], "connections": 5, "latency": quantiles, "in_flight": 0}, 30.0, 0.0)
        for n in range(6)
    ]
    states = {"UP": 2, "DOWN": 1, "EJECTED": 0, "DRAIN": 0, "MAINT": 0}
    backends = [
        Row(
            {"name": name, "servers": states, "state": "UP", "queued": 3, "panic": True, "algorithm": "two_choices",
             "latency": quantiles, "in_flight": 0},
            1.0, 0.0,
        )
        for name in ("app", "api")
    ]  # fmt: skip
    facts = {"phase": "ready", "totals": {"connections": 7}, "workers": [{"state": "ready"}], "uptime": 61.0}
    return Snapshot(
        0.0, {**facts, "generation": 3, "version": "1", "changes": "yes", **info}, frontends, backends, list(servers)
    )


SERVERS = (
    server("app", "web1", 1, rate=10.0, in_flight=3),
    server("app", "web2", 2, rate=40.0, errors=2.5),
    server("app", "down-and-with-a-very-long-name", 3, state="DOWN", reason="health check failed"),
    server("api", "a1", 4, rate=20.0, latency={"recent": None, "overall": {"p50": 0.1, "p99": 0.9}}),
)


def text(lines: list[list[tuple[str, str]]]) -> list[str]:
    return ["".join(part for part, _ in line) for line in lines]


def shown(ui: Ui, *servers: Row, width: int = 120, height: int = 24) -> list[str]:
    return text(draw(News(snapshot(*(servers or SERVERS))), ui, width, height))


def names(lines: list[str]) -> list[str]:
    """Of the servers, in the order they stand."""
    known = ("web1", "web2", "down", "a1")
    return [
        name for line in lines for name in known if line[2:].removeprefix("app/").removeprefix("api/").startswith(name)
    ]


# ---- drawing


@pytest.mark.parametrize("blocks", [True, False])
def test_every_size_is_filled_and_nothing_stands_out(blocks: bool) -> None:
    for width in (*range(1, 60), 80, 100, 132, 200, 400):
        for height in (*range(1, 14), 24, 50):
            for ui in (
                Ui(),
                Ui(help=True),
                Ui(typing=True, needle="x" * 50),
                Ui(asking=Change("app", "x", "y" * 99, "drain")),
            ):
                lines = text(draw(News(snapshot(*SERVERS)), ui, width, height, blocks=blocks))
                assert len(lines) <= height and all(len(line) <= width for line in lines)
                assert all(line.isprintable() for line in lines)
                if not blocks:
                    assert all(character.isascii() or character in "…" for line in lines for character in line)
            if width < SMALLEST[0] or height < SMALLEST[1]:
                assert lines[0] == "too small"[:width]


def test_what_there_is_to_see() -> None:
    lines = shown(Ui())
    assert lines[0] == "fastlb ready  180 req/s  7 conns  1 worker  up 1m1s  config 3  1"
    assert lines[1] == "in0 :0  30/s  5 conns  p50 1ms  p99 500ms" and lines[4].endswith("and 2 more")
    assert lines[6] == "app  2 of 3 up  1/s  p99 500ms  3 queued  panic  two_choices"
    assert lines[7].startswith("> web1 ") and "██" in lines[7]
    assert lines[8].count("█") == 30 and lines[7].count("█") in (7, 8)  # a quarter of the fastest one's
    assert "health check failed" in lines[9] and "█" not in lines[9]
    assert len(lines) == 24 and lines[-1].endswith("q quit")


def test_narrow_terminals_keep_name_and_state() -> None:
    for width in (28, 40, 60):
        line = next(line for line in shown(Ui(), width=width) if "web2" in line)
        assert "UP" in line
    assert "40" in next(line for line in shown(Ui(), width=34) if "web2" in line)


def test_what_strangers_name_cannot_steer_the_terminal() -> None:
    bad = server("app", "x\x1b[2Jy", 9, state="DOWN", reason="\x1b]0;title\x07")
    assert all("\x1b" not in line and "\x07" not in line for line in shown(Ui(), bad))


def test_nothing_known_yet() -> None:
    assert text(draw(News(), Ui(), 80, 10))[1] == "asking …"
    assert "no such socket" in text(draw(News(problem="there is no such socket"), Ui(), 80, 10))[1]
    lines = text(draw(News(snapshot(*SERVERS), "connection refused"), Ui(), 80, 24))
    assert lines[-1].endswith("old: connection refused") and "web1" in "".join(lines)
    ui, news = Ui(), News(snapshot(), message="app/x: no", failed=True, number=1)
    assert text(draw(news, ui, 80, 24))[-1] == text(draw(news, ui, 80, 24))[-1] == "app/x: no"
    ui.key("down")
    assert text(draw(news, ui, 80, 24))[-1].endswith("q quit")
    news.number = 2  # the same once more
    assert text(draw(news, ui, 80, 24))[-1] == "app/x: no"


# ---- keys


def typed(ui: Ui, *keys: str) -> Change | None:
    """Presses keys with a picture between each; what the last one does."""
    change = None
    for key in keys:
        shown(ui)
        change = ui.key(key)
    shown(ui)
    return change


def test_moving() -> None:
    ui = Ui()
    shown(ui)
    assert ui.chosen == ("app", "10.0.0.1:80")
    for keys, number in ((("down",), 2), (("j", "j", "j", "j"), 4), (("up",), 3), (("k",), 2), (("end",), 4),
                         (("home",), 1), (("page down",), 4), (("page up",), 1)):  # fmt: skip
        typed(ui, *keys)
        assert ui.chosen is not None and ui.chosen[1] == f"10.0.0.{number}:80", keys


@pytest.mark.parametrize(
    ("key", "order"),
    [
        ("o", ["web1", "web2", "down", "a1"]),
        ("n", ["a1", "down", "web1", "web2"]),
        ("t", ["web2", "a1", "web1", "down"]),
        ("l", ["a1", "web1", "web2", "down"]),
        ("c", ["web1", "web2", "down", "a1"]),
        ("e", ["web2", "web1", "down", "a1"]),
    ],
)
def test_orders(key: str, order: list[str]) -> None:
    ui = Ui()
    typed(ui, key)
    assert names(shown(ui)) == order
    assert ui.chosen == ("app", "10.0.0.1:80")  # the cursor stays on its server


def test_s_goes_through_all_orders() -> None:
    ui = Ui()
    seen = []
    for _ in SORTS:
        typed(ui, "s")
        seen.append(ui.sort)
    assert sorted(seen) == sorted(SORTS) and seen[-1] == "configured"


@pytest.mark.parametrize(("key", "state"), [("d", "drain"), ("r", "ready"), ("m", "maint")])
def test_changes_are_confirmed(key: str, state: str) -> None:
    ui = Ui()
    assert typed(ui, "down", key) is None
    assert shown(ui)[-1].startswith(f"{state} app/web2? y = yes")
    assert typed(ui, "y") == Change("app", "10.0.0.2:80", "web2", state)
    for other in ("n", "enter", "escape", "d", "q", "down"):
        assert typed(ui, key, other) is None and ui.asking is None and not ui.over
        assert shown(ui)[-1] == "nothing is changed"


def test_finding() -> None:
    ui = Ui()
    typed(ui, "/", "W", "e", "b", "2", "x", "backspace", "enter")
    assert names(shown(ui)) == ["web2"] and ui.chosen == ("app", "10.0.0.2:80")
    typed(ui, "escape")
    assert len(names(shown(ui))) == 4
    typed(ui, "/", "q", "q")  # a letter like any other here
    assert not ui.over and "no server whose name holds 'qq'" in "".join(shown(ui))
    assert typed(ui, "enter", "d") is None and ui.note == "no server is chosen"
    typed(ui, "/", "escape")
    assert ui.needle == ""


def test_other_keys() -> None:
    ui = Ui()
    typed(ui, "?")
    assert "maintenance" in "".join(shown(ui))
    typed(ui, "q")
    assert not ui.help and not ui.over
    typed(ui, "p")
    assert ui.paused and "paused" in shown(ui)[0]
    typed(ui, "x", "ä", "F1")
    typed(ui, "q")
    assert ui.over


def test_the_cursor_is_always_in_sight() -> None:
    many = [server("app", f"s{n}", n) for n in range(100)]
    ui = Ui()
    for key in (*["down"] * 99, *["up"] * 99, "end", "home", "page down", "page down", "page up"):
        shown(ui, *many, height=20)
        ui.key(key)
        lines = shown(ui, *many, height=20)
        assert sum(line.startswith(">") for line in lines) == 1, key
        assert len(lines) == 20


# ---- the feed


def test_rates_are_those_of_the_time_between() -> None:
    counted = Counted()

    def row(requests: int, errors: int, at: float) -> tuple[float, float]:
        told = {"counters": {"requests": requests}, "responses": {"5xx": errors}, "rates": {"requests": 9.0}}
        found = counted.row(("x",), told, at)
        return found.rate, found.errors

    assert row(100, 5, 10.0) == (9.0, 0.0)  # what the program says itself
    assert row(150, 6, 12.0) == (25.0, 0.5)
    assert row(10, 0, 13.0) == (9.0, 0.0)  # another life of the program


class Scripted:
    """A client that answers from a table."""

    def __init__(self) -> None:
        self.servers = [{"backend": "app", "name": f"s{n}", "address": f"a{n}", "rates": None,
                         "counters": {"requests": 1}, "responses": {"5xx": 0}} for n in range(2500)]  # fmt: skip
        self.broken = False
        self.asked: list[tuple[str, str, Any]] = []

    def get(self, path: str, **query: Any) -> Any:
        if self.broken:
            raise ApiFailure("gone")
        if path == "/v1/servers":
            return {"total": 2500, "servers": self.servers[query["offset"] : query["offset"] + query["limit"]]}
        return {"frontends": [], "backends": [], "changes": "yes"}

    def ask(self, method: str, target: str, data: Any) -> Any:
        self.asked.append((method, target, data))
        if "bad" in target:
            raise ApiFailure("no token", 401)
        return {"state": "DRAIN"}


def test_all_servers_are_asked_for() -> None:
    found = fetch(Scripted(), Counted())  # type: ignore[arg-type]
    assert [row.name for row in found.servers] == [f"s{n}" for n in range(2500)]


def test_a_feed_carries_out_changes_and_outlives_failures() -> None:
    client = Scripted()
    feed = Feed(client, interval=600)  # type: ignore[arg-type]
    feed.start()
    try:
        wait_until(lambda: feed.news.snapshot is not None)
        feed.change(Change("app", "10.0.0.1:80", "s1", "drain"))
        wait_until(lambda: feed.news.message == "app/s1: drain, and DRAIN" and not feed.news.failed)
        assert client.asked == [
            ("PATCH", "/v1/backends/app/servers/10.0.0.1%3A80", {"state": "drain", "reason": "fastlb top"})
        ]
        feed.change(Change("app", "bad", "s2", "ready"))
        wait_until(lambda: feed.news.message == "app/s2: no token" and feed.news.failed)
        client.broken = True
        feed.look()
        wait_until(lambda: feed.news.problem == "gone")
        assert feed.news.snapshot is not None  # what was known last is shown on
    finally:
        feed.stop()


# ---- in a terminal


class Terminal:
    """A shell in tmux, of a server of its own."""

    def __init__(self, width: int = 140, height: int = 24) -> None:
        self._program = need("tmux")
        self._socket = f"fastlb-{uuid.uuid4().hex[:8]}"
        environment = "env -i PATH=/usr/bin:/bin LANG=C.UTF-8 PS1='$ ' TERM=screen"
        self._tmux(
            "-f", "/dev/null", "new-session", "-d", "-s", "t", "-x", str(width), "-y", str(height), f"{environment} sh"
        )

    def _tmux(self, *arguments: str) -> str:
        return subprocess.run(
            [self._program, "-L", self._socket, *arguments], check=True, capture_output=True, text=True, timeout=60
        ).stdout

    def type(self, *keys: str) -> None:
        self._tmux("send-keys", "-t", "t", *keys)

    def resize(self, width: int, height: int) -> None:
        self._tmux("resize-window", "-t", "t", "-x", str(width), "-y", str(height))

    @property
    def screen(self) -> str:
        return self._tmux("capture-pane", "-t", "t", "-p")

    def shows(self, *texts: str) -> str:
        """The screen once it shows all of these."""
        try:
            wait_until(lambda: all(text in self.screen for text in texts), 20, repr(texts))
        except BaseException:
            print(self.screen)
            raise
        return self.screen

    def close(self) -> None:
        self._tmux("kill-server")


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    found = Terminal()
    yield found
    found.close()


def test_in_a_terminal(fastlb: Start, origins: Origins, terminal: Terminal) -> None:
    lb = fastlb(*origins.servers, workers=0)

    def state(name: str) -> str:
        return str(lb.unix.get(f"/v1/backends/app/servers/{name}")["state"])

    terminal.type(f"cd {ROOT}; clear", "Enter")
    terminal.type(f"{sys.executable} -m fastlb top --interval 200ms --socket {lb.unix.place}; echo status $?", "Enter")
    screen = terminal.shows("fastlb ready", "> s1", "s2", "2 of 2 up", "q quit")
    assert "status" not in screen
    for _ in range(20):
        assert lb.request() == 200
    terminal.shows("req/s", "█")

    # drain the second one: asked first, then done, and back
    terminal.type("j")
    terminal.shows("> s2")
    terminal.type("d")
    terminal.shows("drain app/s2? y = yes")
    terminal.type("n")
    terminal.shows("nothing is changed")
    assert state("s2") == "UP"
    terminal.type("d", "y")
    terminal.shows("app/s2: drain, and DRAIN", "1 of 2 up", "set to drain by the operator")
    assert state("s2") == "DRAIN"
    terminal.type("r", "y")
    terminal.shows("app/s2: ready, and UP", "2 of 2 up")
    assert state("s2") == "UP"

    # other sizes
    terminal.resize(40, 10)
    wait_until(lambda: "weight" not in terminal.screen and "> s2" in terminal.screen, what="the narrow picture")
    assert all(len(line) <= 40 for line in terminal.screen.splitlines())
    terminal.resize(20, 4)
    terminal.shows("too small")
    terminal.resize(130, 30)
    terminal.shows("weight", "> s2", "app/s2: ready")
    terminal.type("k", "j")
    terminal.shows("q quit")

    # nobody there any more: says so, and shows what it knew
    lb.program.stop()
    terminal.shows("old: ", "> s2")
    terminal.type("q")
    screen = terminal.shows("status 0")
    assert "> s2" not in screen  # the screen of before is back
    terminal.type("echo it is read", "Enter")  # and so is the shell's line editing
    wait_until(lambda: "\nit is read" in terminal.screen)


def test_the_terminal_comes_back_however_it_ends(terminal: Terminal, tmp_path: Path) -> None:
    missing = f"{sys.executable} -m fastlb top --socket {tmp_path}/none"
    pid_file = tmp_path / "pid"
    terminal.type(f"cd {ROOT}; PS1='# '; clear", "Enter")
    terminal.type(f"{missing}; echo status $?", "Enter")
    terminal.shows("there is no such socket")
    terminal.type("C-c")
    assert "no such socket" not in terminal.shows("status 0")
    terminal.type(f"clear; sh -c 'echo $$ > {pid_file}; exec {missing}'; echo status $?", "Enter")
    terminal.shows("there is no such socket")
    subprocess.run(["kill", pid_file.read_text().strip()], check=True)
    assert "no such socket" not in terminal.shows("status 143")
    terminal.type(
        "stty -a | tr ' ' '\\n' | grep -x -e echo -e icanon -e -echo -e -icanon | sort | tr '\\n' '+'", "Enter"
    )
    terminal.shows("echo+icanon+")
    terminal.type("clear; TERM=nonsense-terminal " + missing, "Enter")
    terminal.shows("this terminal is not known")


def test_without_a_terminal() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "fastlb", "top"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert result.returncode == 2 and "needs a terminal" in result.stderr
