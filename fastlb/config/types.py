"""Types of configuration values: how each is read and what JSON Schema says about it.

Built on `PlainValidator`, so that the message of a wrong value is ours and the value comes out ready for `Spec`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, WithJsonSchema

from fastlb.spec import Address

from . import address, syntax, units
from .suggest import Invalid, listed, nearest

MAX_WEIGHT = 65535
MAX_TIER = 7


class Table(BaseModel):
    """A TOML table: unknown keys are errors, and no value is converted behind the user's back."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        model_title_generator=lambda table: table.__name__.removesuffix("Table"),
    )


def option(default: Any = ..., text: str = "", *, shown: Any = None, **limits: Any) -> Any:
    """A field with its text for editors. `shown` is the default as it would be written in the file."""
    extra = {"default": shown} if shown is not None else None
    if callable(default):
        return Field(default_factory=default, description=text or None, json_schema_extra=extra, **limits)
    return Field(default, description=text or None, json_schema_extra=extra, **limits)


def choice(*names: str, aliases: dict[str, str] | None = None) -> tuple[PlainValidator, WithJsonSchema]:
    """Validator and schema of a word from a fixed list."""
    return PlainValidator(word(*names, aliases=aliases)), WithJsonSchema({"type": "string", "enum": list(names)})


def word(*names: str, aliases: dict[str, str] | None = None) -> Callable[[object], str]:
    """A function that takes one of the names and raises `Invalid` for everything else."""

    def check(value: object) -> str:
        if not isinstance(value, str):
            raise Invalid(f"must be {listed(names)}")
        if value not in names:
            raise Invalid(f"must be {listed(names)}", nearest(value, names, aliases))
        return value

    return check


def shorthand(name: str) -> Callable[[object], object]:
    """Reads `value` as the table `{ name = value }`."""

    def expand(value: object) -> object:
        return value if isinstance(value, Mapping) else {name: value}

    return expand


def one_or_many(value: object) -> object:
    """Reads a single value as the list of it."""
    return value if isinstance(value, list) else [value]


def many(name: str) -> Callable[[object], object]:
    """A value or a list of values, each a table or the shorthand of one."""

    def expand(value: object) -> object:
        return [item if isinstance(item, Mapping) else {name: item} for item in one_or_many(value)]  # type: ignore[attr-defined]

    return expand


def _text(pattern: str = "", *examples: object, **more: Any) -> WithJsonSchema:
    schema: dict[str, Any] = {"type": "string"} | more
    if pattern:
        schema["pattern"] = pattern
    if examples:
        schema["examples"] = list(examples)
    return WithJsonSchema(schema)


def _positive(value: object) -> float:
    seconds = units.duration(value)
    if not seconds:
        raise Invalid("must be more than 0")
    return seconds


Duration = Annotated[
    float,
    PlainValidator(units.duration),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string", "pattern": units.DURATION_PATTERN}, {"const": 0}],
            "examples": ["500ms", "3s", "1h30m"],
        }
    ),
]
Positive = Annotated[float, PlainValidator(_positive), WithJsonSchema({"type": "string", "examples": ["30s"]})]
Size = Annotated[
    int,
    PlainValidator(units.size),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string", "pattern": units.SIZE_PATTERN}, {"type": "integer", "minimum": 0}],
            "examples": ["16KB", "1MB"],
        }
    ),
]
Share = Annotated[
    float,
    PlainValidator(units.percent),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": units.PERCENT_PATTERN},
                {"type": "number", "minimum": 0, "maximum": 1},
            ],
            "examples": ["50%", 0.5],
        }
    ),
]
Count = Annotated[int, Field(ge=0, le=2**31 - 1)]
ListenAddress = Annotated[Address, PlainValidator(address.parse_listen), _text("", ":80", "[::1]:8080", "unix:/run/a")]
ServerAddress = Annotated[Address, PlainValidator(address.parse_server), _text("", "10.0.0.1:8080", "unix:/run/a")]
DiscoveredName = Annotated[
    Address | None, PlainValidator(address.parse_discovered), _text("", "app.internal:8080", "app:8080")
]
ServiceName = Annotated[str, PlainValidator(address.parse_service), _text("", "_http._tcp.app.internal")]
Name = Annotated[str, PlainValidator(syntax.name), _text(syntax.NAME_PATTERN)]
HeaderName = Annotated[str, PlainValidator(syntax.header_name), _text(syntax.TOKEN_PATTERN)]
RuledHeaderName = Annotated[str, PlainValidator(syntax.ruled_header_name), _text(syntax.TOKEN_PATTERN)]
HeaderValue = Annotated[str, PlainValidator(syntax.header_value), _text()]
QueryText = Annotated[str, PlainValidator(syntax.query_text), _text()]
HostPattern = Annotated[str, PlainValidator(syntax.host_pattern), _text("", "example.com", "*.example.com")]
CheckHost = Annotated[str, PlainValidator(syntax.check_host), _text("", "example.com")]
PathPattern = Annotated[str, PlainValidator(syntax.path_pattern), _text("^/", "/v1/*", "/img/*.png")]
PlainPath = Annotated[str, PlainValidator(syntax.plain_path), _text("^/", "/v1")]
RewrittenPath = Annotated[str, PlainValidator(syntax.rewritten_path), _text("^/", "/index.html")]
CheckPath = Annotated[str, PlainValidator(syntax.check_path), _text("^/", "/health")]
CheckType = Annotated[
    str, PlainValidator(syntax.check_type), _text("", "http", "tcp", "udp", "exec", "python:checks:ready")
]
Regex = Annotated[str, PlainValidator(syntax.regex), _text("", "^ok$")]
IpLiteral = Annotated[str, PlainValidator(syntax.ip_literal), _text("", "10.0.0.9", "::1")]
Command = Annotated[
    list[str],
    PlainValidator(syntax.command),
    WithJsonSchema({"type": ["array", "string"], "items": {"type": "string"}, "examples": [["/usr/bin/check", "-q"]]}),
]
Method = Annotated[str, PlainValidator(syntax.method), _text(syntax.TOKEN_PATTERN, *syntax.METHODS)]
Network = Annotated[str, PlainValidator(syntax.network), _text("", "10.0.0.0/8", "2001:db8::/32")]
Location = Annotated[str, PlainValidator(syntax.location), _text("", "https://{host}{uri}")]
HashKey = Annotated[str, PlainValidator(syntax.hash_key), _text("", "ip", "header:X-User", "cookie:session")]
AccessLog = Annotated[str, PlainValidator(syntax.access_log), _text("", "stdout", "off", "syslog:unix:/dev/log")]
FilePath = Annotated[str, PlainValidator(syntax.file_path), _text("", "/run/fastlb/state.toml")]
AccountName = Annotated[str, PlainValidator(syntax.account), _text("", "www-data")]
StatusRange = Annotated[
    tuple[int, int],
    PlainValidator(syntax.status_range),
    WithJsonSchema({"type": ["integer", "string"], "examples": [200, "200-399"]}),
]

RetryCondition = Annotated[
    str | tuple[int, int],
    PlainValidator(syntax.retry_condition),
    WithJsonSchema({"type": ["integer", "string"], "examples": ["connect", "timeout", 503, "502-504"]}),
]
RetryConditions = Annotated[
    list[RetryCondition], BeforeValidator(one_or_many, json_schema_input_type=RetryCondition | list[RetryCondition])
]

Hedge = Annotated[
    tuple[float, float],
    PlainValidator(syntax.hedge),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"const": 0}], "examples": ["p95", "p99.9", "200ms"]}),
]

Protocols = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[!-~]+$")]],
    BeforeValidator(one_or_many, json_schema_input_type=str | list[str]),
]
Hosts = Annotated[
    list[HostPattern], BeforeValidator(one_or_many, json_schema_input_type=HostPattern | list[HostPattern])
]
Paths = Annotated[
    list[PathPattern], BeforeValidator(one_or_many, json_schema_input_type=PathPattern | list[PathPattern])
]
Methods = Annotated[list[Method], BeforeValidator(one_or_many, json_schema_input_type=Method | list[Method])]
Networks = Annotated[list[Network], BeforeValidator(one_or_many, json_schema_input_type=Network | list[Network])]
StatusRanges = Annotated[
    list[StatusRange], BeforeValidator(one_or_many, json_schema_input_type=StatusRange | list[StatusRange])
]
