"""The table that has certificates come by themselves."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, Field, PlainValidator, WithJsonSchema

from fastlb import spec

from .suggest import Invalid
from .types import Table, choice, one_or_many, option

_ACME = spec.Acme()

DIRECTORIES = {
    "letsencrypt": "https://acme-v02.api.letsencrypt.org/directory",
    "letsencrypt-staging": "https://acme-staging-v02.api.letsencrypt.org/directory",
}
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_NAME = re.compile(rf"(?:{_LABEL}\.)+{_LABEL}")


def _directory(value: object) -> str:
    text = DIRECTORIES.get(value, value) if isinstance(value, str) else value
    if not isinstance(text, str) or not re.fullmatch(r"https?://[^\s/]+(?:/\S*)?", text):
        raise Invalid('must be the URL of an ACME directory, or "letsencrypt"', "letsencrypt")
    return text


def _contact(value: object) -> str:
    text = value.removeprefix("mailto:") if isinstance(value, str) else ""
    if not re.fullmatch(r"[^@\s,;]+@[^@\s,;]+", text):
        raise Invalid('must be a mail address, such as "admin@example.com"')
    return text


def _name(value: object) -> str:
    text = value.lower().rstrip(".") if isinstance(value, str) else ""
    if text.startswith("*."):
        raise Invalid("a certificate for a wildcard needs the challenge dns-01, which is not spoken", text[2:])
    try:
        text = text.encode("idna").decode()
    except UnicodeError:
        text = ""
    if len(text) > 253 or not _NAME.fullmatch(text) or text.rpartition(".")[2].isdigit():
        raise Invalid('must be a full domain name, such as "www.example.com"')
    return text


Directory = Annotated[
    str,
    PlainValidator(_directory),
    WithJsonSchema({"type": "string", "examples": [*DIRECTORIES, "https://ca.example.com/acme/directory"]}),
]
Contact = Annotated[
    str, PlainValidator(_contact), WithJsonSchema({"type": "string", "examples": ["admin@example.com"]})
]
AcmeName = Annotated[str, PlainValidator(_name), WithJsonSchema({"type": "string", "examples": ["www.example.com"]})]
AcmeNames = Annotated[
    list[AcmeName],
    Field(max_length=100),
    BeforeValidator(one_or_many, json_schema_input_type=AcmeName | list[AcmeName]),
]
Contacts = Annotated[list[Contact], BeforeValidator(one_or_many, json_schema_input_type=Contact | list[Contact])]


class AcmeTable(Table):
    """Where the certificates of listeners with `acme` come from (RFC 8555)."""

    directory: Directory = option(
        _ACME.directory,
        "URL of the authority's directory, `letsencrypt` or `letsencrypt-staging`.",
        shown="letsencrypt",
    )
    agree: bool = option(False, "You have read the authority's terms of service and agree.")
    contact: Contacts = option(list, "Mail addresses that the authority writes to.")
    storage: str = option(_ACME.storage, "Directory for the account's key and the certificates; only fastlb reads it.")
    challenge: Annotated[str, *choice("http-01", "tls-alpn-01")] = option(
        _ACME.challenge, "How names are proven: on port 80 (http-01), or in a handshake on port 443 (tls-alpn-01)."
    )
    key: Annotated[str, *choice("ecdsa", "rsa", aliases={"ec": "ecdsa"})] = option(
        _ACME.key, "Kind of the certificates' keys."
    )
    ca: str = option("", "File of authorities (PEM) for the directory's own certificate; empty = those of the system.")
    eab_kid: str = option("", "External account binding: the name of the key that the authority gave you.")
    eab_key: str = option("", "That key in base64url; or `env:NAME`, or `file:PATH`.")
