"""What becomes different, in the words of the configuration, and whom it touches."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import Any

import pytest

from fastlb import spec as spec_module
from fastlb.admin import routes_config
from fastlb.admin.routes_config import config_view
from fastlb.config import parse
from fastlb.control.diff import Field, Load, What, diff
from fastlb.spec import Address, Affinity, Listen, Pem, Spec, Tls

BASE: dict[str, Any] = {
    "global": {"workers": 2},
    "log": {"access": "off"},
    "admin": {"socket": "/run/x.sock", "token": "a-token-of-the-tests"},
    "frontends": {
        "web": {
            "listen": ["127.0.0.1:80", "127.0.0.1:81"],
            "backend": "app",
            "routes": [
                {"name": "api", "path": "/api/*", "backend": "api"},
                {"host": "a.example", "methods": ["GET"], "path": "/x", "backend": "app"},
                {"path": "/y", "redirect": "/z"},
            ],
        },
    },
    "backends": {
        "app": {"servers": [{"name": "a1", "address": "10.0.0.1:80"}, {"name": "a2", "address": "10.0.0.2:80"}]},
        "api": {"servers": ["10.0.1.1:80"]},
    },
}


def changed(**paths: Any) -> dict[str, Any]:
    """BASE with values at places such as backends__app__retries; ... takes one out."""

    def put(table: Any, keys: list[str], value: Any) -> Any:
        key, *rest = keys
        if isinstance(table, list):
            number = int(key)
            new = put(table[number], rest, value) if rest else value
            return table[:number] + ([] if new is ... else [new]) + table[number + 1 :]
        copy = dict(table)
        new = put(table.get(key, {}), rest, value) if rest else value
        if new is ...:
            del copy[key]
        else:
            copy[key] = new
        return copy

    found = BASE
    for path, value in paths.items():
        found = put(found, path.split("__"), value)
    return found


def spec(mapping: dict[str, Any] = BASE) -> Spec:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return parse(mapping)


def lines(after: dict[str, Any], load: Load | None = None, before: dict[str, Any] = BASE) -> list[str]:
    return [str(one) for one in diff(spec(before), spec(after), load)]


def test_nothing() -> None:
    assert diff(spec(), spec()) == ()
    resolved = replace(spec().backends[0].servers[0], resolved=((2, ("10.0.0.1", 80)),))
    other = replace(
        spec(),
        backends=(
            replace(spec().backends[0], servers=(resolved, *spec().backends[0].servers[1:])),
            *spec().backends[1:],
        ),
    )
    assert diff(spec(), other) == ()  # what the resolver found is not of the configuration


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ({"log__access": "stdout"}, ['~ log: access "off" -> "stdout"']),
        ({"global__workers": 3}, ["~ global: workers 2 -> 3"]),
        ({"global__workers": 0}, ["~ global: workers 2 -> 0 (workers takes effect at the next start)"]),
        (
            {"global__max_connections": 9, "global__pid_file": "/run/x.pid"},
            ['~ global: max_connections 0 -> 9; pid_file "" -> "/run/x.pid"'
             " (max_connections and pid_file take effect at the next start)"],
        ),
        ({"overload": {"close": "80%"}}, ["~ overload: close 0.85 -> 0.8"]),
        ({"admin__token": "another-token-of-the-tests"}, ["~ admin: token ... -> ..."]),
        ({"frontends__web__backend": "api"}, ['~ frontend web: backend "app" -> "api"']),
        ({"frontends__web__timeouts": {"header": "5s"}}, ["~ frontend web: timeouts.header 10.0 -> 5.0"]),
        ({"frontends__web__listen": ["127.0.0.1:80"]}, ["- listener web on 127.0.0.1:81"]),
        ({"frontends__web__listen": ["127.0.0.1:80", "127.0.0.1:81", ":82"]}, ["+ listener web on :82"]),
        ({"frontends__web__routes__2__redirect": "/w"}, ['~ route web route /y: redirect.location "/z" -> "/w"']),
        ({"frontends__web__routes__1": ...}, ["- route web route GET a.example /x"]),
        ({"frontends__web__routes__0__name": "v1"}, [
            "- route web route api", "+ route web route v1"]),
        ({"backends__app__retries": 1}, ["~ backend app: retries 2 -> 1"]),
        ({"backends__app__balance": "random"}, ['~ backend app: balance.algorithm "two_choices" -> "random"']),
        ({"backends__app__health_check": {"type": "tcp"}}, None),
        ({"backends__app__servers__0__weight": 5}, ["~ server app/a1 at 10.0.0.1:80: weight 1 -> 5"]),
        ({"backends__app__servers__0__name": "b1"}, ['~ server app/b1 at 10.0.0.1:80: name "a1" -> "b1"']),
        ({"backends__app__servers__0": ...}, ["- server app/a1 at 10.0.0.1:80"]),
        ({"backends__app__servers__0__address": "10.0.0.9:80"}, [
            "- server app/a1 at 10.0.0.1:80", "+ server app/a1 at 10.0.0.9:80"]),
        ({"backends__new": {"servers": ["10.0.2.1:80", "10.0.2.2:80"]}}, ["+ backend new (2 servers)"]),
        ({"frontends__more": {"listen": [":90", ":91"], "backend": "app"}}, ["+ frontend more (on :90, :91)"]),
    ],
)  # fmt: skip
def test_each_kind(after: dict[str, Any], expected: list[str] | None) -> None:
    found = lines(changed(**after))
    if expected is None:
        assert len(found) == 1 and found[0].startswith("~ backend app: health_check {")
    else:
        assert found == expected


def test_the_order_of_routes() -> None:
    routes = BASE["frontends"]["web"]["routes"]
    (line,) = lines(changed(frontends__web__routes=[routes[1], routes[0], routes[2]]))
    assert line.startswith("~ route web routes: order [") and line.endswith("(the first that matches wins)")


def test_routes_without_a_name_that_match_the_same() -> None:
    same = [{"path": "/y", "backend": "app"}, {"path": "/y", "backend": "api"}]
    before = changed(frontends__web__routes=same)
    assert lines(before, before=before) == []
    after = changed(frontends__web__routes=[same[0], {**same[1], "backend": "app"}])
    assert lines(after, before=before) == ['~ route web route /y #2: backend "api" -> "app"']


LOAD = Load(
    frontends={"web": (10, 3)},
    servers={("app", Address("10.0.0.1", 80)): (4, 1), ("app", Address("10.0.0.2", 80)): (5, 0)},
)


def test_whom_it_touches() -> None:
    assert lines(changed(backends__app__servers__0=...), LOAD) == [
        "- server app/a1 at 10.0.0.1:80 (touches 4 open connections and 1 request)"
    ]
    assert lines(changed(backends__app__servers__1=...), LOAD) == [
        "- server app/a2 at 10.0.0.2:80 (touches 5 open connections)"
    ]
    assert lines(changed(frontends__web__listen=["127.0.0.1:80"]), LOAD) == [
        "- listener web on 127.0.0.1:81 (touches 10 open connections and 3 requests; at most: those of the frontend's"
        " other addresses are not told apart)"
    ]
    # what changes in place closes nothing
    assert lines(changed(backends__app__servers__0__weight=5), LOAD) == [
        "~ server app/a1 at 10.0.0.1:80: weight 1 -> 5"
    ]


def test_a_backend_and_a_frontend_that_go() -> None:
    gone = changed(frontends__web__backend="api", backends__app=..., frontends__web__routes=[])
    found = {(one.kind, one.name): one for one in diff(spec(), spec(gone), LOAD)}
    backend = found[("backend", "app")]
    assert (backend.what, backend.connections, backend.requests) == (What.REMOVED, 9, 1)
    assert ("server", "app/a1") not in found  # they go with it
    renamed = changed(frontends__web=..., frontends__other=BASE["frontends"]["web"])
    first, second = diff(spec(), spec(renamed), LOAD)
    assert (first.kind, first.name, first.what, first.connections) == ("frontend", "web", What.REMOVED, 10)
    assert (second.name, second.what, second.connections) == ("other", What.ADDED, 0)


def test_fields_before_and_after() -> None:
    (one,) = diff(spec(), spec(changed(backends__app__servers__0__weight=5)))
    assert one.fields == (Field("weight", "1", "5"),)
    (one,) = diff(spec(), spec(changed(backends__app__agent_check={"port": 9})))
    assert [(f.name, f.before) for f in one.fields] == [("agent_check", "")] and '"port": 9' in one.fields[
        0
    ].after.replace("port = 9", '"port": 9')


MARK = "what-nobody-may-read"


def with_secrets(suffix: str) -> Spec:
    """Every kind of secret that a Spec can hold."""
    text = MARK + suffix
    tls = Tls(("x.pem",), min_version=suffix, pems=(Pem("x.pem", text.encode()),), authorities=text.encode())
    found = spec()
    (web,), (app, api) = found.frontends, found.backends
    return replace(
        found,
        frontends=(replace(web, listen=(Listen(web.listen[0].address, tls), web.listen[1])),),
        backends=(replace(app, affinity=Affinity(name=f"n{suffix}", secrets=(text,))), api),
        admin=replace(found.admin, token=text, webhook=f"https://{text}.example/"),
    )


def test_secrets_are_shown_nowhere() -> None:
    import json

    kinds = set()
    for before, after in (
        (spec(), with_secrets("a")),
        (with_secrets("a"), with_secrets("b")),
        (with_secrets("b"), spec()),
    ):
        differences = diff(before, after)
        kinds |= {one.kind for one in differences}
        assert MARK not in "".join(str(one) + repr(one) for one in differences)
    assert kinds == {"admin", "listener", "backend"}
    # nor in what GET /v1/config answers
    view = config_view(with_secrets("a"))
    assert MARK not in json.dumps(view) and view["admin"]["token"] == "(not shown)"
    assert view["backends"][0]["affinity"]["secrets"] == "(not shown)"
    assert "pems" not in view["frontends"][0]["listen"][0]["tls"]
    assert config_view(spec())["admin"]["webhook"] == ""


KEEPERS = [
    one
    for one in vars(spec_module).values()
    if dataclasses.is_dataclass(one) and any(not f.repr for f in dataclasses.fields(one))
]


@pytest.mark.parametrize("keeper", KEEPERS, ids=lambda one: one.__name__)
def test_whatever_keeps_a_secret(keeper: Any) -> None:
    """Each class of the Spec with a field that repr() leaves out, those of tomorrow too."""
    needed = {f.name: "x" for f in dataclasses.fields(keeper) if f.default is f.default_factory is dataclasses.MISSING}
    secrets = {f.name: MARK for f in dataclasses.fields(keeper) if not f.repr}
    before, after = keeper(**needed), keeper(**{**needed, **secrets})
    assert MARK not in repr(after)
    assert MARK not in repr(routes_config.plain(after)) and MARK not in repr(routes_config.plain((before, after)))
    listeners = [
        replace(spec(), frontends=(replace(spec().frontends[0], listen=(Listen(Address("", 80), one),)),))
        for one in (None, before, replace(after, **{next(iter(needed), "name"): "y"}) if needed else after)
    ]  # the values stand for a listener's TLS: what a difference says of them does not depend on where they are
    for was in listeners:
        for now in listeners:
            assert MARK not in repr(diff(was, now))


def test_there_and_back_again() -> None:
    for path, value in (
        ("backends__app__servers__0", ...),
        ("frontends__web__routes__1", ...),
        ("backends__app__retries", 1),
    ):
        after = changed(**{path: value})
        there, back = diff(spec(), spec(after)), diff(spec(after), spec())
        opposite = {What.ADDED: What.REMOVED, What.REMOVED: What.ADDED, What.CHANGED: What.CHANGED}
        assert sorted((one.kind, one.name, opposite[one.what]) for one in there) == sorted(
            (one.kind, one.name, one.what) for one in back
        )
