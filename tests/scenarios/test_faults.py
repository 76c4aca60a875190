"""No client sees an error as long as one server is well, slow clients hold nobody up. The long form is faults.py."""

from __future__ import annotations

from tests.e2e.balancer import Balancers
from tests.e2e.servers import Answering
from tests.e2e.wire import dial
from tests.scenarios.faults import BODY, Load, attack, harm, site


def test_no_harm_to_one_server_is_seen(balancer: Balancers) -> None:
    """Refused, hanging, reset at every byte of the head, garbage, errors, slow, flapping."""
    with site(balancer) as (lb, proxy, patient), Load(lb.address) as load:
        load.wait(50)
        for _ in harm(proxy, patient, flaps=20):
            load.wait(12)
        load.wait(50)
    assert load.errors == []


def test_slow_clients_hold_nobody_up(balancer: Balancers) -> None:
    """Slowloris, slow bodies, slow readers, many ranges."""
    with Answering(lambda request: b"x" * 2_000_000 if request.target == "/large" else BODY) as server:
        lb = balancer(server.address, log={"access": "off"})
        for _, wires in attack(lb.address, 40):
            assert len(wires) == 40
            for _ in range(10):
                assert dial(lb.address).get("/").response().body == BODY
