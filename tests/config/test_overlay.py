"""The overlay file: what is written is read again, what is wrong is named, and a crash leaves a whole file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlb.config import check_file, with_overlay
from fastlb.config.overlay import read_overlay
from fastlb.control import overlay as writer
from fastlb.control.overlay import overlay_text, write_overlay
from fastlb.spec import Address, Server, ServerChange, ServerState

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
REASONS = st.text(st.characters(exclude_categories=["C", "Z"]) | st.just(" "), max_size=60).filter(str.isprintable)
ADDRESSES = st.one_of(
    st.builds(lambda a, p: Address(f"10.0.0.{a}", p), st.integers(0, 255), st.integers(1, 65535)),
    st.builds(lambda p: Address("2001:db8::1", p), st.integers(1, 65535)),
    st.builds(lambda n: Address(path=f"/run/{n}.sock"), NAMES),
    st.builds(lambda n: Address("app.example", n), st.integers(1, 65535)),
)


@st.composite
def change(draw: st.DrawFn) -> ServerChange:
    address, name = draw(ADDRESSES), draw(NAMES)
    kind = draw(st.sampled_from(["values", "added", "removed"]))
    return ServerChange(
        draw(NAMES),
        address,
        name,
        state=draw(st.none() | st.sampled_from(ServerState)),
        weight=draw(st.none() | st.integers(0, 65535)),
        max_connections=draw(st.none() | st.integers(0, 2**31 - 1)),
        added=Server(name, address, backup=draw(st.booleans())) if kind == "added" else None,
        removed=kind == "removed",
        reason=draw(REASONS),
    )


@given(st.lists(change(), max_size=5))
def test_what_is_written_is_read(changes: list[ServerChange]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "overlay.toml"))
        write_overlay(path, changes)
        assert read_overlay(path) == (changes, [])


CHANGE = ServerChange(
    "app", Address("10.0.0.1", 80), "s1", state=ServerState.DRAIN, reason='why "so" \\ \x7f'.strip("\x7f")
)


def test_the_text() -> None:
    assert overlay_text([CHANGE]).splitlines()[2:] == [
        "[[servers]]",
        'backend = "app"',
        'address = "10.0.0.1:80"',
        'name = "s1"',
        'state = "drain"',
        'reason = "why \\"so\\" \\\\ "',
    ]
    assert overlay_text([]).startswith("# ")


def test_it_is_replaced_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "overlay.toml"
    write_overlay(str(path), [CHANGE])
    before = path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o644

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_overlay(str(path), [])
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["overlay.toml"]  # and nothing half done beside it


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_overlay(str(tmp_path / "none" / "overlay.toml"), [CHANGE])


# ---- reading


def problems(tmp_path: Path, text: str | bytes) -> list[str]:
    path = tmp_path / "overlay.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    changes, found = read_overlay(str(path))
    assert changes == []
    return [str(problem).removeprefix(f"{path}:").strip() for problem in found]


def test_no_file_is_how_it_begins(tmp_path: Path) -> None:
    assert read_overlay(str(tmp_path / "none.toml")) == ([], [])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[[servers]\n", "not valid TOML"),
        (b"\xff", "TOML is UTF-8, and this is not"),
        ("[[servers]]\nbackend = 'app'\n", "servers[0].address: this key is needed"),
        ("[[servers]]\nbackend = 'app'\naddress = '10.0.0.1:80'\nwieght = 3\n", "unknown key; did you mean"),
        ("[[server]]\n", "server"),
        ("[[servers]]\nbackend = 'app'\naddress = '10.0.0.1:80'\nweight = 70000\n", "65535"),
        ("[[servers]]\nbackend = 'app'\naddress = '10.0.0.1:80'\nstate = 'drian'\n", 'did you mean "drain"'),
        ("[[servers]]\nbackend = 'app'\naddress = '10.0.0.1'\n", "servers[0].address"),
        (
            "[[servers]]\nbackend = 'app'\naddress = '10.0.0.1:80'\nadded = true\nbackup = true\ntier = 2\n",
            "6: servers[0].tier = 2: a backup stands in no tier: backups come after all of them; leave out tier, or "
            'backup; did you mean "0"',
        ),
        ("[[servers]]\nbackend = 'app'\naddress = '10.0.0.1:80'\nreason = \"a\\nb\"\n", "must be one line"),
        ("[[servers]]\nbackend = 'app'\naddress = '10.0.0.1:80'\nreason = '" + "x" * 201 + "'\n", "at most 200"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str | bytes, expected: str) -> None:
    (problem,) = problems(tmp_path, text)
    assert expected in problem


def test_the_line_is_named(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, "# x\n[[servers]]\nbackend = 'app'\naddress = '10.0.0.1:80'\nweight = 'x'\n")
    assert problem.startswith("5: servers[0].weight")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    _, (problem,) = read_overlay(str(tmp_path))
    assert "cannot be read" in str(problem)


# ---- with the configuration

FILE = """
[global]
overlay = "overlay.toml"
[frontends.web]
listen = ":80"
backend = "app"
[backends.app]
servers = [{ name = "s1", address = "10.0.0.1:80" }]
"""


def test_changes_come_with_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "lb.toml").write_text(FILE)
    path = str(tmp_path / "overlay.toml")
    lost = ServerChange("nope", Address("10.0.0.9", 80), "x", weight=1)
    added = Server("s2", Address("10.0.0.2", 80))
    write_overlay(path, [CHANGE, lost, ServerChange("app", added.address, "s2", added=added)])
    report = with_overlay(check_file(str(tmp_path / "lb.toml")))
    assert report.spec is not None and [c.name for c in report.spec.changes] == ["s1", "x", "s2"]
    assert [str(w) for w in report.warnings if "overlay" in w.file] == [
        f'{path}: warning: servers[1] = "nope/x": '
        "there is no such server in the configuration; the change has no effect"
    ]


def test_a_wrong_overlay_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "lb.toml").write_text(FILE)
    (tmp_path / "overlay.toml").write_text("nonsense = 1\n")
    report = with_overlay(check_file(str(tmp_path / "lb.toml")))
    assert report.spec is None and "nonsense" in str(report.errors[0])
