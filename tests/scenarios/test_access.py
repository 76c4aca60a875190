"""Who gets through: networks, tarpits, silence."""

from __future__ import annotations

import re
import time

import pytest

from fastlb.config import check_text
from tests.e2e.balancer import Balancer, Balancers
from tests.e2e.wire import dial
from tests.helpers import ROOT, wait_until


@pytest.fixture(scope="module")
def gate(shared_balancer: Balancers) -> Balancer:
    """Only the loopback's first /16 may come in; each path refuses one address more, in its own way."""

    def refusing(path: str, **rules: object) -> dict[str, object]:
        return {"path": path, "respond": {"body": "in"}, "access": {"deny": "127.0.0.9", **rules}}

    return shared_balancer(
        frontend={
            "access": ["127.0.0.0/16"],
            "routes": [
                refusing("/forbid"),
                refusing("/tarpit", action="tarpit", tarpit="300ms"),
                refusing("/long", action="tarpit", tarpit="1h", tarpit_max=1),
                refusing("/drop", action="drop"),
                {"path": "/*", "respond": {"body": "in"}},
            ],
        }
    )


@pytest.mark.parametrize(("source", "status"), [("127.0.0.9", 200), ("127.0.255.255", 200), ("127.1.0.0", 403)])
def test_only_allowed_networks_come_in(gate: Balancer, source: str, status: int) -> None:
    with dial(gate.address, source=source) as client:
        assert client.get("/").response().status == status


def test_a_route_may_deny_more(gate: Balancer) -> None:
    with dial(gate.address, source="127.0.0.9") as client:
        assert client.get("/forbid").response().status == 403
        assert client.get("/").response().status == 200  # the connection goes on
    with dial(gate.address, source="127.0.0.8") as client:
        assert client.get("/forbid").response().text == "in"
    refused = gate.logged("GET /forbid")
    assert (refused.status, refused.term) == (403, "PR--")


def test_a_tarpit_answers_late(gate: Balancer) -> None:
    began = time.monotonic()
    with dial(gate.address, source="127.0.0.9") as client:
        assert client.get("/tarpit").response().status == 403
    assert time.monotonic() - began >= 0.3
    assert gate.logged("GET /tarpit").term == "PT--"


def test_a_tarpit_holds_a_limited_number_and_lets_go_of_those_who_leave(gate: Balancer) -> None:
    held = dial(gate.address, source="127.0.0.9").get("/long?held")
    assert held.silent()
    with dial(gate.address, source="127.0.0.9") as beyond:
        assert beyond.get("/long?beyond").ended() in ("fin", "reset")
    held.close()
    assert gate.logged("/long?held").term == "CR--"
    wait_until(lambda: _is_held(gate), what="the place in the tarpit to be free")


def _is_held(gate: Balancer) -> bool:
    with dial(gate.address, source="127.0.0.9") as client:
        return client.get("/long").silent(0.2)


def test_dropping_says_nothing(gate: Balancer) -> None:
    with dial(gate.address, source="127.0.0.9") as client:
        assert client.get("/drop").ended() == "reset"


def test_the_page_shows_what_loads() -> None:
    for name in ("access", "canary", "limits"):
        blocks = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / f"{name}.md").read_text(), re.DOTALL)
        assert blocks
        for block in blocks:
            report = check_text(block)
            assert (report.errors, report.warnings) == ((), ()), block
