"""The UDP cells count what arrives, and every peer understands what it is told to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastlb import parse
from fastlb.bench.peers import UDP_OPTIONS, Setup
from fastlb.bench.peers_more import PEERS
from fastlb.bench.process import free_ports
from fastlb.bench.scene import Scene
from fastlb.bench.udp import SCENES, UDP
from fastlb.bench.udp_load import Datagrams


@pytest.mark.parametrize("how", [{}, {"window": 8}, {"reuse": 1}, {"one_way": True, "window": 32}])
def test_what_arrives_is_counted(how: dict[str, int]) -> None:
    servers = free_ports(2, 2)
    load = Datagrams(servers[0], servers, clients=16, size=100, **how)  # straight to a server: nothing gets lost
    for _ in range(2):
        arrived, lost, seconds = load.run(0.1)
        assert arrived > 16
        assert lost == 0
        assert seconds >= 0.1


def test_nobody_there() -> None:
    arrived, lost, _ = Datagrams(free_ports(1, 2)[0], free_ports(1, 2), clients=4).run(0.5)
    assert arrived == 0
    assert lost >= 4


@pytest.mark.parametrize(
    "wrong", [{"clients": 0}, {"clients": 1, "window": 65}, {"clients": 1, "size": 4096}, {"clients": 1, "reuse": -1}]
)
def test_what_it_cannot_do(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"\d"):
        Datagrams(1, (2,), **wrong)


def test_every_cell_has_a_scene() -> None:
    assert {cell.scene for cell in UDP} == set(SCENES)


@pytest.mark.parametrize("flows", UDP_OPTIONS)
def test_fastlb_accepts_its_configuration(flows: str, tmp_path: Path) -> None:
    proxy = PEERS["fastlb"](Setup({0}, 0, tmp_path))
    proxy.scene, proxy.port = Scene((1001, 1002), mode="udp", flows=flows, connections=100), 1000
    front = parse(proxy.configuration()).frontends[0]
    assert front.mode.name == "UDP"
    assert front.udp.flow == ("packet" if flows == "packet" else "tuple")
