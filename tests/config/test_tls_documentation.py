"""docs/tls.md, and what docs/tcp.md shows of TLS: it loads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fastlb.config import check_text
from tests.certificates import Authority, pem

from .samples import ROOT, texts

BLOCKS = [
    block
    for page in ("tls.md", "tcp.md")
    for block in re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)
    if page == "tls.md" or ".pem" in block
]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the page names."""
    folder = tmp_path_factory.mktemp("page")
    one = Authority("Clients")
    (folder / "certs").mkdir()
    for name in (
        "certs/site.pem",
        "api-ecdsa.pem",
        "api-rsa.pem",
        "client.pem",
        "site.pem",
        "mail.pem",
        "balancer.pem",
    ):
        one.issue(folder / name, "example.com")
    for name in ("ca.pem", "internal-ca.pem"):
        (folder / name).write_bytes(pem(one.certificate))
    one.revoke(one.issue(folder / "gone.pem", "gone"), folder / "crl.pem")
    return folder


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_what_it_shows_loads(block: str, files: Path) -> None:
    text = re.sub(r'"(?:/etc/fastlb/)?((?:certs|[\w-]+\.pem))"', lambda m: f'"{files / m[1]}"', block)
    assert texts(check_text(text)) == []
