"""docs/configuration.md: it has every key with its default and text, and what it shows as TOML loads."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from fastlb.config import check_text, json_schema

from .samples import ROOT, texts

PAGE = (ROOT / "docs" / "configuration.md").read_text()
SCHEMA = json_schema()
UNEXPLAINED = {"Listen"}  # shown by example


def row(key: str, field: dict[str, Any], needed: bool) -> str:
    default = field.get("default")
    shown = "needed" if needed else "" if default is None else f"`{json.dumps(default)}`"
    text = field.get("description") or SCHEMA["$defs"][field["$ref"].rpartition("/")[2]]["description"]
    return f"| `{key}` | {shown} | {text}".replace("|  |", "| |")


@pytest.mark.parametrize("name", sorted(SCHEMA["$defs"]))
def test_every_key_is_in_the_page(name: str) -> None:
    table = SCHEMA["$defs"][name]
    if table["title"] in UNEXPLAINED:
        assert all(key in PAGE for key in table["properties"])
        return
    lines = PAGE.splitlines()
    for key, field in table["properties"].items():
        expected = row(key, field, key in table.get("required", ()))
        assert any(line.startswith(expected) for line in lines), f"docs/configuration.md lacks: {expected}"
        for word in field.get("enum", ()):
            assert f"`{word}`" in PAGE or str(word) in expected


@pytest.mark.parametrize("page", ["configuration.md", "tcp.md"])
def test_what_it_shows_loads(page: str) -> None:
    blocks = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        assert ".pem" in block or texts(check_text(block)) == []  # with files: test_tls_documentation.py


def test_the_messages_that_it_shows_are_real() -> None:
    shown = [line for line in PAGE.splitlines() if line.startswith("fastlb.toml:")]
    text = "\n" * 11 + (
        'frontends.web.backend = "web_server"\nfrontends.web.listen = ":80"\nbackends.web_servers.servers = "a:1"\n'
    ) + "\n" * 5 + "timeouts.connect = 3\n"  # fmt: skip
    assert [str(problem) for problem in check_text(text, "fastlb.toml").errors] == shown
