"""Routes over the operator's actions: what they hand on, and how each verdict is answered."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from fastlb.admin import shapes
from fastlb.admin.routes_actions import one_line, parse_address
from fastlb.control.diff import Difference, Field, What
from fastlb.errors import Problem
from fastlb.runtime.actions import Answer, Verdict
from fastlb.spec import Address, ServerChange, ServerState
from tests.admin.inside import inside, make_backend, make_spec
from tests.admin.test_api import fits

CHANGE = ServerChange("app", Address("10.0.0.1", 80), "s1", state=ServerState.DRAIN, reason="why")


class Noted:
    """Stands in for the operator: notes every call, answers what the test wants."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.answer = Answer(
            Verdict.DONE,
            "done",
            (Problem("frontends.web", 1, "careful", severity="warning"),),
            generation=2,
            differences=(Difference("server", "app/s1", What.CHANGED, (Field("weight", "1", "2"),), 3, 4),),
            changes=(CHANGE,),
        )

    def __getattr__(self, name: str) -> Any:
        async def call(*args: Any, **options: Any) -> Answer:
            self.calls.append((name, args, options))
            return self.answer

        return call

    def changes(self) -> tuple[ServerChange, ...]:
        return (CHANGE,)


NEW = {"address": "10.9.9.9:80", "weight": 5, "backup": True, "state": "drain", "reason": "more\nroom"}
ADDED = ("app", Address("10.9.9.9", 80))
ADDED_OPTIONS = {
    "name": "", "weight": 5, "backup": True, "tier": 0, "max_connections": 0, "state": ServerState.DRAIN,
    "reason": "more room",
}  # fmt: skip


@pytest.mark.parametrize(
    ("method", "target", "data", "call"),
    [
        ("POST", "/v1/upgrade", None, ("upgrade", (), {})),
        ("POST", "/v1/reload", None, ("reload", (), {"confirm": 0.0})),
        ("POST", "/v1/reload", {"confirm": 60}, ("reload", (), {"confirm": 60.0})),
        ("POST", "/v1/confirm", None, ("confirm", (), {})),
        ("POST", "/v1/diff", None, ("diff", (None, ""), {})),
        ("POST", "/v1/diff?source=a.toml", b"x = 1\n", ("diff", ("x = 1\n", "a.toml"), {})),
        ("POST", "/v1/overlay", None, ("save_overlay", (), {})),
        ("POST", "/v1/backends/app/servers", NEW, ("add_server", ADDED, ADDED_OPTIONS)),
        ("DELETE", "/v1/backends/app/servers/s1?reason=old", None, ("remove_server", ("app", "s1", "old"), {})),
        ("POST", "/v1/backends/app/servers/s1/forget", None, ("forget", ("app", "s1"), {})),
        (
            "POST",
            "/v1/backends/app/servers/s1/shutdown_sessions?reason=old",
            None,
            ("end_sessions", ("app", "s1", "old"), {}),
        ),
    ],
)
def test_what_is_handed_on(method: str, target: str, data: Any, call: Any) -> None:
    async def main() -> None:
        actions = Noted()
        async with inside(make_spec(make_backend("app", 2)), actions) as lb:  # type: ignore[arg-type]
            status, _, body = await lb.ask(target, method, data)
            assert (status, actions.calls) == (201 if call[0] == "add_server" else 200, [call])
            answer = json.loads(body)
            fits(shapes.AnswerView, answer)
            assert answer["differences"][0]["text"].startswith("~ server app/s1: weight")
            assert (answer["generation"], len(answer["warnings"]), answer["changes"][0]["state"]) == (2, 1, "drain")
            # nobody without the token reaches it
            status, _, _ = await lb.ask(target, method, data, trusted=False)
            assert (status, len(actions.calls)) == (403, 1)

    asyncio.run(main())


def test_a_change_names_the_server_by_its_address() -> None:
    async def main() -> None:
        actions = Noted()
        async with inside(make_spec(make_backend("app", 2)), actions) as lb:  # type: ignore[arg-type]
            status, _, _ = await lb.ask("/v1/backends/app/servers/s1", "PATCH", {"weight": 0, "reason": "x"})
            options = {"state": None, "weight": 0, "max_connections": None, "reason": "x"}
            assert (status, actions.calls) == (200, [("change_server", ("app", "10.0.0.1:80"), options)])

    asyncio.run(main())


@pytest.mark.parametrize(
    ("verdict", "status"), [(Verdict.PARTLY, 200), (Verdict.WRONG, 422), (Verdict.UNKNOWN, 404), (Verdict.REFUSED, 409)]
)
def test_verdicts(verdict: Verdict, status: int) -> None:
    async def main() -> None:
        actions = Noted()
        problem = Problem("frontends.web.listen", ":x", "no port", file="a.toml", line=3)
        actions.answer = Answer(verdict, "what happened", (problem,), workers=("worker 1: no",))
        async with inside(make_spec(make_backend("app", 2)), actions) as lb:  # type: ignore[arg-type]
            got, fields, body = await lb.ask("/v1/reload", "POST")
            assert got == status
            answer = json.loads(body)
            if verdict is Verdict.PARTLY:
                assert (answer["verdict"], answer["workers"]) == ("partly", ["worker 1: no"])
                return
            assert fields["content-type"] == "application/problem+json"
            assert answer["detail"] == "what happened"
            assert answer["errors"] == [{"where": "frontends.web.listen", "reason": str(problem)}]

    asyncio.run(main())


def test_the_changes_in_force() -> None:
    async def main() -> None:
        async with inside(make_spec(make_backend("app", 2)), Noted()) as lb:  # type: ignore[arg-type]
            found = await lb.json("/v1/changes")
            fits(shapes.ChangeList, found)
            (change,) = found["changes"]
            assert (change["backend"], change["address"], change["state"]) == ("app", "10.0.0.1:80", "drain")
            assert (change["weight"], change["removed"], change["reason"]) == (None, False, "why")

    asyncio.run(main())


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.0.0.1:80", Address("10.0.0.1", 80)),
        ("App.example:8080", Address("app.example", 8080)),
        ("[2001:DB8::1]:443", Address("2001:db8::1", 443)),
        ("unix:/run/a.sock", Address(path="/run/a.sock")),
        ("unix:@name", Address(path="@name")),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    ["", "a", "a:", ":80", "a:0", "a:65536", "a:8o", "::1:80", "[::1:80", "[x]:80", "unix:", "unix:rel", "a b:80",
     "unix:/" + "x" * 110, "a:٣", "[::1%eth0]x:80"],
)  # fmt: skip
def test_addresses_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_address(text)


def test_reasons_are_one_line() -> None:
    assert one_line(" a\r\n b\x1b[31m\tc ") == "a b [31m c"
