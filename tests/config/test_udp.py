"""Tables of mode udp: what is refused, and that the page's example loads."""

from __future__ import annotations

import re

import pytest

from fastlb.config import check_text
from fastlb.spec import Udp

from .samples import ROOT, texts

PAGE = (ROOT / "docs" / "udp.md").read_text()


def problems(frontend: str = "", backend: str = "", listen: str = '":53"') -> list[str]:
    return texts(
        check_text(
            f'[frontends.f]\nlisten = {listen}\nmode = "udp"\nbackend = "b"\n{frontend}\n'
            f'[backends.b]\nmode = "udp"\nservers = ["10.0.0.1:53"]\n{backend}\n'
        )
    )


def test_the_page_loads() -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    report = check_text(block)
    assert texts(report) == []
    assert report.spec is not None
    assert [f.udp for f in report.spec.frontends] == [
        Udp(responses=1, idle=5.0), Udp(flow="packet", responses=0), Udp(),
    ]  # fmt: skip


def test_every_key_is_in_the_page() -> None:
    for key in ("flow", "idle", "requests", "responses", "max_flows", "overflow", "amplification"):
        assert f"udp.{key}" in PAGE or f"`{key} =" in PAGE, key


def test_tcp_on_the_same_port() -> None:
    assert not texts(
        check_text(
            '[frontends.t]\nlisten = ":53"\nbackend = "t"\n[frontends.u]\nlisten = ":53"\nmode = "udp"\nbackend = "u"\n'
            '[backends.t]\nservers = "10.0.0.1:53"\n[backends.u]\nmode = "udp"\nservers = "10.0.0.1:53"\n'
        )
    )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"frontend": "redirect_https = true"}, 'redirect_https = true: is not for mode = "udp"'),
        ({"frontend": "routes = [{ backend = 'b' }]"}, 'is not for mode = "udp"'),
        ({"frontend": "max_connections = 5"}, "use udp = { max_flows"),
        ({"frontend": 'timeouts = { idle = "5s" }'}, "use udp = { idle"),
        ({"frontend": "udp = { idle = 0 }"}, "must be more than 0"),
        ({"frontend": 'udp = { flow = "tupel" }'}, 'did you mean "tuple"?'),
        ({"frontend": 'udp = { flow = "ip" }'}, 'did you mean "source"?'),
        ({"frontend": 'udp = { flow = "packet", requests = 2 }'}, "has no effect"),
        ({"frontend": "udp = { responses = -1 }"}, "responses"),
        ({"listen": '"unix:/x"'}, "a Unix socket cannot take datagrams"),
        ({"backend": "max_queue = 2\nmax_connections = 2"}, 'max_queue = 2: is not for mode = "udp"'),
        ({"backend": 'balance = { algorithm = "consistent_hash", key = "path" }'}, "no key but the client's address"),
        ({"backend": 'health_check = { type = "udp", send = "hex:0" }'}, "pairs of hexadecimal digits"),
        ({"backend": 'health_check = { type = "udp", path = "/" }'}, "is only for type"),
    ],
)
def test_wrong(wrong: dict[str, str], message: str) -> None:
    found = problems(**wrong)
    assert len(found) == 1 and message in found[0], found


def test_the_table_is_for_udp_alone() -> None:
    (found,) = texts(
        check_text(
            '[frontends.f]\nlisten = ":80"\nbackend = "b"\nudp = { idle = "5s" }\n[backends.b]\nservers = "a:1"\n'
        )
    )
    assert 'is only for mode = "udp"' in found
