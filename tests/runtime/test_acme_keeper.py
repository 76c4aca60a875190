"""When certificates are ordered, renewed and tried for again; the authority is a stand-in, the clock is ours."""

from __future__ import annotations

import asyncio
import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fastlb import spec
from fastlb.control.certificate import leaf_of
from fastlb.control.events import Events
from fastlb.runtime import acme_keeper
from fastlb.runtime.acme_keeper import LONGEST, AcmeKeeper, Order, pause, renewal_time
from fastlb.spec import Acme, Challenges, Pem
from tests.certificates import Authority

DAY = 86400.0


class Authorities:
    """In place of fastlb.acme.order."""

    def __init__(self) -> None:
        self.authority = Authority("Stand-in")
        self.orders: list[tuple[str, ...]] = []
        self.fails = ""
        self.says: float | None = None
        self.shown: list[Challenges] = []

    def order(self, settings: Acme, names: tuple[str, ...], show: Any) -> bytes:
        self.orders.append(names)
        show(Challenges((("/.well-known/acme-challenge/a", "b"),)))
        show(Challenges())
        if self.fails:
            raise OSError(self.fails)
        file = settings.folder() / "made"
        file.parent.mkdir(parents=True, exist_ok=True)
        self.authority.issue(file, *names, days=89)
        return file.read_bytes()

    def renewal(self, settings: Acme, pem: bytes) -> tuple[float | None, float]:
        return self.says, 0.0

    def write(self, settings: Acme, file: str, pem: bytes) -> None:
        Path(file).write_bytes(pem)


class Crew:
    def __init__(self, authorities: Authorities) -> None:
        self._authorities = authorities

    async def secrets(self, message: Any) -> None:
        self._authorities.shown.append(message.challenges)


class Clock:
    now = datetime.datetime.now(datetime.UTC).timestamp()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def authorities(monkeypatch: pytest.MonkeyPatch) -> Authorities:
    one = Authorities()
    monkeypatch.setattr(acme_keeper, "_library", lambda: one)
    return one


def keeper(tmp_path: Path, clock: Clock, *names: str) -> tuple[AcmeKeeper, Order]:
    acme = Acme(storage=str(tmp_path))
    tls = spec.Tls((), acme=names, acme_cert=str(acme.certificate(names)))
    listen = spec.Listen(spec.Address("127.0.0.1", 443), tls=tls)
    whole = spec.Spec(frontends=(spec.Frontend("web", (listen,)),), backends=(), tls=spec.TlsSettings(acme=acme))

    async def read_again(crew: Any) -> None:
        pass

    service: Any = SimpleNamespace(spec=whole, events=Events(), tls=SimpleNamespace(read_again=read_again))
    one = AcmeKeeper(service, clock=clock)
    assert one._wanted() == acme
    return one, one.orders[0]


def look(one: AcmeKeeper, order: Order, authorities: Authorities) -> None:
    settings = one._wanted()
    assert settings
    asyncio.run(one._look(order, settings, Crew(authorities)))  # type: ignore[arg-type]


def test_pauses_double_up_to_a_limit() -> None:
    assert [pause(n) for n in (1, 2, 3, 4)] == [60, 120, 240, 480]
    assert pause(50) == LONGEST


def test_tried_again_later_each_time_and_renewed_at_two_thirds(tmp_path: Path, authorities: Authorities) -> None:
    clock = Clock()
    one, order = keeper(tmp_path, clock, "a.test", "b.test")
    authorities.fails = "no answer"
    for failures in (1, 2):
        look(one, order, authorities)
        assert (order.state, order.failures, order.error) == ("failed", failures, "no answer")
        assert order.next_try == clock.now + pause(failures)
        clock.now = order.next_try - 1
        look(one, order, authorities)
        assert len(authorities.orders) == failures  # not yet
        clock.now += 1
    authorities.fails = ""
    look(one, order, authorities)
    assert (order.state, order.failures, order.error, order.issued) == ("valid", 0, "", 1)
    assert authorities.shown == [Challenges((("/.well-known/acme-challenge/a", "b"),)), Challenges()] * 3
    leaf = leaf_of(Pem("made", Path(order.file).read_bytes()))
    assert order.renew_at == renewal_time(leaf) == leaf.not_before.timestamp() + 60 * DAY
    clock.now = order.renew_at - 1
    look(one, order, authorities)
    assert len(authorities.orders) == 3
    clock.now += 1
    look(one, order, authorities)
    assert len(authorities.orders) == 4


def test_the_authority_may_want_it_sooner_but_never_later(tmp_path: Path, authorities: Authorities) -> None:
    clock = Clock()
    one, order = keeper(tmp_path, clock, "a.test")
    look(one, order, authorities)
    own = order.renew_at
    clock.now = order.ask_at
    authorities.says = own + 5 * DAY
    look(one, order, authorities)
    assert order.renew_at == own
    clock.now = order.ask_at
    authorities.says = clock.now
    look(one, order, authorities)
    assert len(authorities.orders) == 2
    assert order.state == "valid"


def test_other_names_are_another_certificate(tmp_path: Path, authorities: Authorities) -> None:
    clock = Clock()
    one, order = keeper(tmp_path, clock, "a.test")
    look(one, order, authorities)
    one, order = keeper(tmp_path, clock, "a.test", "b.test")
    look(one, order, authorities)
    assert authorities.orders == [("a.test",), ("a.test", "b.test")]
