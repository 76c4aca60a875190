"""The whole file as one model."""

from __future__ import annotations

from pydantic import ConfigDict

from .models_auth import AuthTable
from .models_backends import BackendTable
from .models_frontends import FrontendTable
from .models_global import AdminTable, GlobalTable, LimitsTable, LogTable, TimeoutsTable, TracingTable
from .models_overload import OverloadStepsTable
from .models_rates import RedisTable
from .models_resolver import ResolverTable
from .models_tls import TlsSettingsTable
from .types import Name, Table, option


class Config(Table):
    """Configuration of fastlb."""

    model_config = ConfigDict(title="fastlb configuration", json_schema_extra={"required": ["frontends"]})

    global_: GlobalTable = option(GlobalTable, "The process as a whole.", alias="global")
    admin: AdminTable = option(AdminTable, "Where the program itself is watched and steered.")
    log: LogTable = option(LogTable, "Access and error log.")
    tls: TlsSettingsTable = option(TlsSettingsTable, "What all TLS listeners have in common.")
    tracing: TracingTable = option(TracingTable, "Traces that begin here, and where our own spans go.")
    resolver: ResolverTable = option(ResolverTable, "How names of servers are looked up, at the start and again.")
    overload: OverloadStepsTable = option(OverloadStepsTable, "What is given up when resources run out.")
    redis: RedisTable = option(RedisTable, "Where nodes meet that share rates.")
    timeouts: TimeoutsTable = option(TimeoutsTable, "How long to wait; a frontend or backend can override any of them.")
    limits: LimitsTable = option(
        LimitsTable, "How large requests and how slow clients may be; a frontend can override it."
    )
    auth: dict[Name, AuthTable] = option(dict, "Ways of telling who requests are from, by name; routes name one.")
    frontends: dict[Name, FrontendTable] = option(dict, "What listens, by name.")
    backends: dict[Name, BackendTable] = option(dict, "Groups of servers, by name.")
