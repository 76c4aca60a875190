"""Servers given by name: looked up by TTL while the program runs, failing soft."""

from __future__ import annotations

from tests.helpers import wait_until
from tests.name_server import NameServer

from .balancer import Balancers
from .datagrams import Echo, Peer
from .test_udp import backend, frontend


def test_servers_follow_their_names(balancer: Balancers) -> None:
    one = Echo("one")
    two = Echo("two", "127.0.0.2", port=one.port)
    with NameServer(ttl=0) as names:
        names.records = {"app.test": ["127.0.0.1"]}
        server = {"name": "app", "address": f"app.test:{one.port}"}
        later = {"name": "later", "address": f"later.test:{one.port}"}
        udp = balancer(
            resolver={"nameservers": names.address, "min_ttl": "50ms", "timeout": "5s"},
            frontends={"udp": frontend("pool"), "later": frontend("later")},
            backends={"pool": backend(server), "later": backend(later)},
        )
        udp.complained("later.test.*cannot be resolved.*stays down")
        with Peer(to=("127.0.0.1", udp.ports["udp"])) as client:
            assert client.ask(b"x") == b"one:x"
            names.records["app.test"] = ["127.0.0.3", "127.0.0.1"]  # still among them: it stays
            names.wait_asked(8)
            assert client.ask(b"x") == b"one:x"
            names.records["app.test"] = ["127.0.0.2"]
            udp.complained("server pool/app: app.test is 127.0.0.2, no longer 127.0.0.1")
            assert wait_until(lambda: client.ask(b"x") == b"two:x")  # the flow that there is moves too
            names.records["app.test"] = []
            udp.complained("app.test: the name cannot be resolved.*keep the addresses they have")
            assert client.ask(b"x") == b"two:x"
    one.close()
    two.close()
