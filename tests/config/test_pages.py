"""The pages about single features: what they show as TOML loads."""

from __future__ import annotations

import re

import pytest

from fastlb.config import check_text

from .samples import ROOT, texts

FRONTEND = 'frontends.web.listen = ":80"\nfrontends.web.backend = "api"\n'


@pytest.mark.parametrize("page", ["resilience", "retries"])
def test_what_it_shows_loads(page: str) -> None:
    blocks = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / f"{page}.md").read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        whole = block if "[frontends" in block else FRONTEND + block
        assert texts(check_text(whole)) == []
