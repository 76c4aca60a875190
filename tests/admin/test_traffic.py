"""/v1/routes, /v1/connections and /v1/config: what is answered, and to whom."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from fastlb.admin import shapes_traffic as shapes
from fastlb.spec import Admin, Redirect, Respond, Route
from tests.admin.conftest import TOKEN
from tests.admin.inside import inside, make_backend, make_spec
from tests.admin.test_api import fits

ROUTES = (
    Route("api", host=("a.example",), path=("/v1/*",), methods=("GET",), headers=(("X-A", "1"),), query=(("q", "*"),),
          source=("10.0.0.0/8",), backend="app"),
    Route(path=("/old",), redirect=Redirect("/new", 308)),
    Route("teapot", respond=Respond(418)),
)  # fmt: skip
SPEC = make_spec(make_backend("app", 2), frontends=2)
SPEC = replace(
    SPEC,
    frontends=(replace(SPEC.frontends[0], routes=ROUTES), replace(SPEC.frontends[1], backend="")),
    admin=Admin(token=TOKEN),
)


def test_routes_in_the_order_they_are_tried() -> None:
    async def main() -> None:
        async with inside(SPEC) as lb:
            found = await lb.json("/v1/routes")
            fits(shapes.RouteList, found)
            assert [(r["frontend"], r["position"], r["name"], r["action"], r["target"]) for r in found["routes"]] == [
                ("f0", 1, "api", "backend", "app"),
                ("f0", 2, "", "redirect", "308 /new"),
                ("f0", 3, "teapot", "respond", "418"),
                ("f0", 4, "default", "backend", "app"),
                ("f1", 1, "default", "none", "404"),
            ]
            first = found["routes"][0]
            assert (first["host"], first["path"], first["methods"]) == (["a.example"], ["/v1/*"], ["GET"])
            assert (first["headers"], first["query"], first["source"]) == (["X-A: 1"], ["q=*"], ["10.0.0.0/8"])

    asyncio.run(main())


def connection(state: str, seconds: float | None = None, frontend: str = "f0") -> dict[str, Any]:
    request = None
    if seconds is not None:
        request = {
            "line": "GET / HTTP/1.1", "backend": "app", "server": "s1", "attempts": 1, "seconds": seconds,
            "bytes_in": 1, "bytes_out": 2,
        }  # fmt: skip
    return {
        "frontend": frontend, "client": "192.0.2.1", "client_port": 1, "tls": False, "state": state, "request": request,
    }  # fmt: skip


def test_connections_of_all_workers_the_longest_first() -> None:
    async def main() -> None:
        async with inside(SPEC, workers=3) as lb:
            one, two, _ = lb.team.workers  # the third says nothing
            one.answers["connections"] = ([connection("waiting", 2.0), connection("idle")], 1500)
            two.answers["connections"] = ([connection("tunnel", 9.0, "f1"), connection("queued", 1.0)], 2)
            found = await lb.json("/v1/connections")
            fits(shapes.ConnectionList, found)
            assert found["total"] == 1502
            assert [(c["worker"], c["state"]) for c in found["connections"]] == [
                (1, "tunnel"), (0, "waiting"), (1, "queued"), (0, "idle"),
            ]  # fmt: skip
            for query, number in (("frontend=f1", 1), ("state=idle", 1), ("limit=2", 2), ("frontend=f1&state=idle", 0)):
                assert len((await lb.json(f"/v1/connections?{query}"))["connections"]) == number, query
            assert (await lb.ask("/v1/connections?state=asleep"))[0] == 422

    asyncio.run(main())


def test_the_configuration() -> None:
    async def main() -> None:
        async with inside(SPEC) as lb:
            found = await lb.json("/v1/config")
            assert found["frontends"][0]["routes"][1]["redirect"] == {"location": "/new", "status": 308}
            assert [one["address"] for one in found["backends"][0]["servers"]] == ["10.0.0.0:80", "10.0.0.1:80"]
            assert "resolved" not in found["backends"][0]["servers"][0] and found["global"]["workers"] == 1
            # with what was changed at run time
            assert (await lb.ask("/v1/backends/app/servers/s1", "PATCH", {"weight": 7}))[0] == 200
            assert (await lb.json("/v1/config"))["backends"][0]["servers"][1]["weight"] == 7
            assert TOKEN not in (await lb.text("/v1/config"))

    asyncio.run(main())


@pytest.mark.parametrize(("path", "private"), [("/v1/routes", False), ("/v1/connections", True), ("/v1/config", True)])
def test_who_may_read_it(path: str, private: bool) -> None:
    async def main() -> None:
        async with inside(SPEC) as lb:
            lb.team.workers[0].answers["connections"] = ([], 0)
            bearer = {"authorization": f"Bearer {TOKEN}"}
            assert (await lb.ask(path, trusted=False, token=TOKEN))[0] == (401 if private else 200)
            assert (await lb.ask(path, trusted=False))[0] == (403 if private else 200)
            assert (await lb.ask(path, headers=bearer, trusted=False, token=TOKEN))[0] == 200
            assert (await lb.ask(path, trusted=True))[0] == 200

    asyncio.run(main())
