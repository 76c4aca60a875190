"""From the tables of authentication and mirrors to their parts of the `Spec`."""

from __future__ import annotations

from collections.abc import Mapping

from fastlb import spec

from .models_auth import AuthTable, BasicTable, ForwardTable, JwtTable, MirrorTable


def auth(tables: Mapping[str, AuthTable]) -> tuple[spec.Auth, ...]:
    return tuple(
        spec.Auth(name, basic(table.basic), token(table.jwt), forward(table.forward)) for name, table in tables.items()
    )


def basic(table: BasicTable | None) -> spec.BasicAuth | None:
    if table is None:
        return None
    return spec.BasicAuth(**table.model_dump() | {"users": tuple(table.users), "user_header": table.user_header or ""})


def token(table: JwtTable | None) -> spec.Jwt | None:
    if table is None:
        return None
    return spec.Jwt(
        **table.model_dump()
        | {
            "secret": table.secret or "",
            "jwks": table.jwks or "",
            "cookie": table.cookie or "",
            "algorithms": tuple(table.algorithms),
            "issuer": tuple(table.issuer),
            "audience": tuple(table.audience),
            "require": tuple((claim, tuple(values)) for claim, values in table.require.items()),
            "headers": tuple(table.headers.items()),
        }
    )


def forward(table: ForwardTable | None) -> spec.ForwardAuth | None:
    if table is None:
        return None
    lists = ("send", "headers", "response_headers", "refusal_headers")
    return spec.ForwardAuth(
        **table.model_dump()
        | {name: tuple(getattr(table, name)) for name in lists}
        | {"user_header": table.user_header or ""}
    )


def mirror(table: MirrorTable | None) -> spec.Mirror | None:
    if table is None:
        return None
    return spec.Mirror(**table.model_dump() | {"compare_headers": tuple(table.compare_headers)})
