"""The pages about single features: what they show as TOML loads."""

from __future__ import annotations

import re

import pytest

from fastlb.config import check_text

from .samples import ROOT, texts

FRONTEND = 'frontends.web.listen = ":80"\nfrontends.web.backend = "api"\n'


PAGES = (
    "auth", "bandwidth", "discovery", "limits", "mirroring", "overload", "resilience", "retries", "slow-clients",
    "tracing",
)  # fmt: skip


@pytest.mark.parametrize("page", PAGES)
def test_what_it_shows_loads(page: str) -> None:
    blocks = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / f"{page}.md").read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        whole = block if "[frontends" in block else FRONTEND + block
        assert texts(check_text(whole)) == []


def test_the_page_about_health_loads() -> None:
    """Its examples are parts of a configuration, some of a backend without its servers."""
    blocks = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "health.md").read_text(), re.DOTALL)
    loaded = 0
    for block in blocks:
        names = dict.fromkeys(re.findall(r"^\[backends\.(\w+)", block, re.MULTILINE))
        if not names:
            continue
        routes = "".join(f'[[frontends.web.routes]]\nhost = "{name}.example"\nbackend = "{name}"\n' for name in names)
        servers = "" if "servers =" in block else f'[backends.{next(iter(names))}]\nservers = "10.0.0.1:80"\n'
        listen = '[frontends.web]\nlisten = ":80"\n'
        assert texts(check_text(listen + routes + servers + block)) == []
        loaded += 1
    assert loaded >= 5
