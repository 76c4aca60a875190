"""The JSON Schema: valid, current in docs/, and of one mind with the loader about what it can express."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from fastlb.config import check_mapping, json_schema

from .samples import EXAMPLES, GOLDEN, MINIMAL, ROOT, with_tables
from .test_reading import ARCHITECTURE

SCHEMA = json_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_the_copy_in_docs_is_current() -> None:
    """After a change: fastlb schema > docs/fastlb.schema.json"""
    assert json.loads((ROOT / "docs" / "fastlb.schema.json").read_text()) == SCHEMA


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_fit(path: Path) -> None:
    VALIDATOR.validate(tomllib.loads(path.read_text()))
    assert path.read_text().startswith("#:schema ../fastlb.schema.json\n")


def test_the_architecture_example_fits() -> None:
    VALIDATOR.validate(tomllib.loads(ARCHITECTURE))


@pytest.mark.parametrize("name", ["structure", "rules", "misspelt"])
def test_wrong_files_do_not_fit(name: str) -> None:
    assert not VALIDATOR.is_valid(tomllib.loads((GOLDEN / f"{name}.toml").read_text()))


@pytest.mark.parametrize(
    "table",
    [
        "global = { wrkers = 1 }",
        "global = { workers = 1.5 }",
        'global = { workers = "all" }',
        'timeouts = { connect = "3 s" }',
        "timeouts = { connect = 3 }",
        'timeouts = { connect = "" }',
        'limits = { uri = "8XB" }',
        "limits = { header_count = 0 }",
        'log = { format = "xml" }',
        'frontends = { "a b" = { listen = ":1" } }',
        "frontends = { web = { listen = 80 } }",
        "frontends = { web = { routes = [{ path = 'x' }] } }",
        "frontends = { web = { routes = [{ redirect = { status = 301 } }] } }",
        'frontends = { web = { request_headers = { set = { "a b" = "c" } } } }',
        'backends = { app = { balance = "fastest" } }',
        "backends = { app = { balance = { bound = 1 } } }",
        "backends = { app = { retries = 4 } }",
        'backends = { app = { servers = [{ name = "a" }] } }',
        'backends = { app = { servers = [{ address = "a:1", weight = 65536 }] } }',
        'backends = { app = { balance = { panic_threshold = "half" } } }',
        "backends = { more = {} }",
        "frontends = { more = {} }",
    ],
)
def test_schema_and_loader_refuse_the_same(table: str) -> None:
    configuration = with_tables(table)
    assert not VALIDATOR.is_valid(configuration)
    assert check_mapping(configuration).spec is None


@pytest.mark.parametrize(
    "table",
    [
        "",
        "global = { workers = 0 }",
        "timeouts = { connect = 0, header = '1h30m', client = '0', idle = '1.5s' }",
        "limits = { uri = '8 KiB', body = 100, header_bytes = 2048 }",
        "frontends = { web = { listen = { address = ':1' } } }",
        "frontends = { web = { listen = [':1', { address = ':2' }] } }",
        "frontends = { web = { routes = [{ host = 'a', source = '::1', redirect = '/x' }] } }",
        "backends = { app = { balance = { panic_threshold = 0.5 } } }",
        "backends = { app = { balance = { panic_threshold = '50%' } } }",
        "backends = { app = { health_check = { expect = [200, '300-302'] } } }",
        "backends = { app = { health_check = { expect = 200 } } }",
    ],
)
def test_schema_and_loader_take_the_same(table: str) -> None:
    configuration = with_tables(table)
    VALIDATOR.validate(configuration)
    assert check_mapping(configuration).spec is not None


def objects(node: Any) -> list[dict[str, Any]]:
    found = [node] if isinstance(node, dict) else []
    for item in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        found += objects(item)
    return found


def test_every_table_is_closed_and_every_key_explained() -> None:
    for definition in (SCHEMA, *SCHEMA["$defs"].values()):
        assert definition["additionalProperties"] is False
        for name, key in definition["properties"].items():
            target = SCHEMA["$defs"][key["$ref"].rpartition("/")[2]] if "$ref" in key else {}
            assert key.get("description") or target.get("description"), name


def test_there_is_no_null() -> None:
    """TOML has none, and an editor that offers it misleads."""
    assert not [node for node in objects(SCHEMA) if node.get("type") == "null" or node.get("default", 0) is None]


def test_defaults_are_valid() -> None:
    for definition in SCHEMA["$defs"].values():
        for name, key in definition["properties"].items():
            if "default" in key:
                jsonschema.Draft202012Validator({**key, "$defs": SCHEMA["$defs"]}).validate(key["default"])
                assert key["default"] is not None, name


def test_minimal_has_every_required_key() -> None:
    configuration = tomllib.loads(MINIMAL)
    del configuration["frontends"]["web"]["listen"]
    assert not VALIDATOR.is_valid(configuration)
