"""What is counted of refusals, faults, second copies and log-ins: in /metrics, in the API and by `fastlb ctl`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from fastlb.cli import main
from tests.admin.conftest import Api
from tests.e2e.balancer import Balancer, Balancers
from tests.e2e.servers import Answering
from tests.e2e.wire import dial
from tests.helpers import wait_until
from tests.scenarios.gate import Gate
from tests.tokens import SECRET, basic, token

THIEF = "127.0.0.9"
USER = "ann:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="  # "secret"
FIRST = {"balance": "first", "outlier": False}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("counted")


@pytest.fixture(scope="module")
def api(folder: Path) -> Api:
    return Api(str(folder / "admin.sock"))


@pytest.fixture(scope="module")
def gates() -> Iterator[tuple[Gate, Gate]]:
    """Two servers whose answers may be held back."""
    both = Gate(), Gate()
    yield both
    for one in both:
        one.go.set()
        one.server.stop()


@pytest.fixture(scope="module")
def lb(shared_balancer: Balancers, named: list[Answering], gates: tuple[Gate, Gate], folder: Path) -> Balancer:
    """Two workers: whoever asks one of them hears what all have counted."""

    def refusing(path: str, action: str) -> dict[str, object]:
        return {"path": path, "respond": {"body": "in"}, "access": {"deny": THIEF, "action": action, "tarpit": "10ms"}}

    return shared_balancer(
        named[0].address,
        frontend={
            "routes": [
                *(refusing(f"/{action}", action) for action in ("forbid", "tarpit", "drop")),
                {"path": "/delayed", "backend": "app", "faults": {"delay": "1ms"}},
                {"path": "/aborted", "backend": "app", "faults": {"abort": 503}},
                {"path": "/both", "backend": "app", "faults": {"delay": "1ms", "abort": 503}},
                {"path": "/copied", "backend": "copied"},
                {"path": "/password", "respond": {"body": "in"}, "auth": "staff"},
                {"path": "/token", "respond": {"body": "in"}, "auth": "api"},
                {"path": "/service", "respond": {"body": "in"}, "auth": "sso"},
            ]
        },
        backends={
            "copied": {
                **FIRST,
                "retry": {"hedge": "20ms"},
                "servers": [{"name": f"c{n}", "address": gate.server.address} for n, gate in enumerate(gates)],
            },
            "nobody": {"servers": "127.0.0.1:1", "retries": 0, "outlier": False},
        },
        auth={
            "staff": {"basic": {"users": [USER], "failures": 2, "window": "1h"}},
            "api": {"jwt": {"secret": SECRET}},
            "sso": {"forward": {"backend": "nobody"}},
        },
        admin={"socket": str(folder / "admin.sock")},
        global_={"workers": 2},
    )


def metric(api: Api, name: str, **labels: str) -> int:
    """One sample; the labels in the order in which they stand."""
    inside = ",".join(f'{label}="{value}"' for label, value in labels.items())
    found = re.search(rf"^{re.escape(f'{name}{{{inside}}}')} (\d+)$", api.text("/metrics?extra-counters"), re.MULTILINE)
    assert found, (name, labels)
    return int(found[1])


def test_refusals_are_counted_by_what_they_got(lb: Balancer, api: Api) -> None:
    for path, times in (("/forbid", 3), ("/tarpit", 2), ("/drop", 1)):
        for _ in range(times):
            with dial(lb.address, source=THIEF) as client:
                client.get(path)
                if path == "/drop":
                    assert client.ended() in ("reset", "fin")
                else:
                    assert client.response().status == 403
    with lb.dial() as client:
        assert client.get("/forbid").response().text == "in"
    counted = api.get("/v1/frontends/web")["counters"]
    assert [counted[name] for name in ("forbidden", "tarpitted", "dropped", "denied")] == [3, 2, 1, 6]
    for action, times in (("forbid", 3), ("tarpit", 2), ("drop", 1)):
        assert metric(api, "fastlb_frontend_access_refusals_total", proxy="web", action=action) == times


def test_faults_are_counted_by_kind(lb: Balancer, api: Api) -> None:
    with lb.dial() as client:
        assert [client.get(path).response().status for path in ("/delayed", "/aborted", "/both")] == [200, 503, 503]
    counted = api.get("/v1/frontends/web")["counters"]
    assert (counted["fault_delays"], counted["fault_aborts"]) == (2, 2)
    for kind in ("delay", "abort"):
        assert metric(api, "fastlb_frontend_faults_total", proxy="web", kind=kind) == 2


def copies(api: Api, kind: str, **labels: str) -> tuple[int, int]:
    """Second copies that were sent, and those that won."""
    return (
        metric(api, f"fastlb_{kind}_hedges_total", **labels),
        metric(api, f"fastlb_{kind}_hedges_won_total", **labels),
    )


def test_second_copies_are_counted_where_they_went(lb: Balancer, api: Api, gates: tuple[Gate, Gate]) -> None:
    first, second = gates
    with lb.dial() as client:
        second.go.set()
        assert client.get("/copied").response().text == "done"
        assert copies(api, "backend", proxy="copied") == (1, 1)
        # Both are held back now, and the first one answers first.
        second.go.clear()
        came = len(second.came)
        client.get("/copied")
        wait_until(lambda: len(second.came) > came, what="the copy to be under way")
        first.go.set()
        assert client.response().text == "done"
    assert copies(api, "backend", proxy="copied") == (2, 1)
    assert copies(api, "server", proxy="copied", server="c1") == (2, 1)
    assert copies(api, "server", proxy="copied", server="c0") == (0, 0)
    counted = api.get("/v1/backends/copied")["counters"]
    assert (counted["hedges"], counted["hedges_won"], counted["retries"]) == (2, 1, 2)


def ctl(api: Api, *arguments: str) -> str:
    assert isinstance(api.place, str)
    done = CliRunner().invoke(main, ["ctl", "--socket", api.place, *arguments], prog_name="fastlb")
    assert done.exit_code == 0, done.output
    return done.stdout


def test_what_authentication_decided(lb: Balancer, api: Api) -> None:
    """Over both workers; failures close an address for all of them."""

    def statuses(path: str, *lines: str) -> list[int]:
        found = []
        for line in lines:
            with dial(lb.address, source="127.0.0.5") as client:
                found.append(client.get(path, line).response().status)
        return found

    guesses = [basic("ann", f"guess {n}") for n in range(4)]
    assert statuses("/password", basic("ann", "secret"), "A: b", *guesses) == [200, 401, 401, 401, 429, 429]
    good = f"Authorization: Bearer {token()}"
    assert statuses("/token", good, "Authorization: Bearer x") == [200, 401]
    assert statuses("/service", "A: b") == [503]
    told = {one["name"]: one["counts"] for one in api.get("/v1/auth")["auth"]}
    assert told["staff"] == {"granted": 1, "cached": 0, "refused": 3, "limited": 2, "failed": 0}
    assert told["api"] == {"granted": 1, "cached": 0, "refused": 1, "limited": 0, "failed": 0}
    assert told["sso"] == {"granted": 0, "cached": 0, "refused": 0, "limited": 0, "failed": 1}
    for result, number in (("granted", 1), ("refused", 3), ("limited", 2), ("failed", 0)):
        assert metric(api, "fastlb_auth_requests_total", auth="staff", result=result) == number
    assert metric(api, "fastlb_auth_requests_total", auth="sso", result="failed") == 1
    rows = [re.split(r" {2,}", line) for line in ctl(api, "show", "auth").splitlines()]
    assert rows[0] == ["auth", "granted", "cached", "refused", "limited", "failed"]
    assert ["staff", "1", "0", "3", "2", "0"] in rows
    assert json.loads(ctl(api, "show", "auth", "--json")) == api.get("/v1/auth")
