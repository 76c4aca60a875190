"""The application: all routes, and their description at /v1/openapi.json."""

from __future__ import annotations

from fastapi import FastAPI

from fastlb import __version__
from fastlb.admin import (
    problems,
    routes_actions,
    routes_auth,
    routes_config,
    routes_events,
    routes_explain,
    routes_logs,
    routes_plain,
    routes_state,
    routes_tables,
    routes_tls,
)
from fastlb.admin.context import Context

ROUTERS = (
    routes_state.router,
    routes_events.router,
    routes_actions.router,
    routes_config.router,
    routes_explain.router,
    routes_auth.router,
    routes_logs.router,
    routes_tables.router,
    routes_tls.router,
    routes_plain.router,
)


def build(context: Context) -> FastAPI:
    """One application for all listeners; what differs between them is done by `access.Guard` before it."""
    app = FastAPI(
        title="fastlb",
        version=__version__,
        description="State of a running fastlb, and changes to it. Errors are RFC 9457 problem details.",
        openapi_url="/v1/openapi.json",
        # The usual pages load scripts from other sites.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    problems.install(app)
    for router in ROUTERS:
        app.include_router(router(context))
    return app
