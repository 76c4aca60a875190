"""Tables of what listens: frontends, their listeners and routes."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, ConfigDict

from .models_auth import Mirror
from .models_bandwidth import Bandwidths
from .models_global import LimitsTable, TimeoutsTable
from .models_rates import RateLimits
from .models_rules import HeaderRulesTable, Redirect, RespondTable, RewriteTable
from .models_tcp import ListenTcpTable
from .models_tls import Hsts, TlsTable
from .models_traffic import Access, Faults, Split
from .models_udp import UdpTable
from .types import (
    Count,
    HeaderName,
    HeaderValue,
    Hosts,
    ListenAddress,
    Methods,
    Name,
    Networks,
    Paths,
    Protocols,
    QueryText,
    Table,
    choice,
    many,
    option,
)

Mode = Annotated[str, *choice("http", "tcp", "udp", aliases={"https": "http", "tls": "tcp"})]


class ListenTable(Table):
    """One listening address."""

    address: ListenAddress = option(..., "host:port, :port (all addresses), [v6]:port or unix:/path.")
    tls: TlsTable | None = option(None, "Certificate; makes this a TLS listener.")
    tcp: ListenTcpTable = option(ListenTcpTable, "Options of the socket.")
    proxy_protocol: Networks = option(
        list, "Networks of proxies whose connections begin with a PROXY header, v1 or v2; `unix` for Unix sockets."
    )


Listeners = Annotated[
    list[ListenTable],
    BeforeValidator(
        many("address"), json_schema_input_type=ListenAddress | ListenTable | list[ListenAddress | ListenTable]
    ),
]


class RouteTable(Table):
    """Conditions, which must all hold, and one action. The first route that matches wins."""

    name: Name = option("", "For the log; otherwise routes are known by their place.")
    host: Hosts = option(list, "Names that Host may hold: exact, or with a wildcard such as `*.example.com`.")
    path: Paths = option(list, "Exact `/a`, prefix `/a/*`, or with `*` inside, such as `/img/*.png`.")
    methods: Methods = option(list, "Request methods.")
    headers: dict[HeaderName, HeaderValue] = option(
        dict, "Header fields and their values; `*` = present, and as a wildcard."
    )
    query: dict[QueryText, QueryText] = option(dict, "Query parameters and their values; `*` as for headers.")
    source: Networks = option(list, "Networks that the client may be in.")
    sni: Hosts = option(list, "Mode tcp: server names that a ClientHello may ask for, as for `host`.")
    alpn: Protocols = option(list, "Mode tcp: protocols, one of which a ClientHello must offer.")
    priority: Annotated[str, *choice("high", "normal", "low")] = option(
        "normal", "Who goes first in a queue, and who is turned away last, when there is too much."
    )
    backend: str = option("", "Action: the backend that gets the request.")
    redirect: Redirect | None = option(None, "Action: send the client to another URL.")
    respond: RespondTable | None = option(None, "Action: a fixed response.")
    split: Split | None = option(None, "Action: several backends share the requests by weight.")
    rate_limits: RateLimits = option(list, "Limits beside the frontend's, for the requests of this route alone.")
    bandwidth: Bandwidths = option(list, "How fast bytes go; beside the frontend's.")
    access: Access | None = option(None, "Networks that may send requests; beside the frontend's.")
    auth: str = option("", "Who may: the name of a table of [auth], in place of the frontend's; none = anybody.")
    mirror: Mirror | None = option(None, "Copies for a second backend, in place of the frontend's.")
    faults: Faults = option(list, "Faults made on purpose.")
    rewrite: RewriteTable | None = option(None, "Change of the path before the request goes to the backend.")
    request_headers: HeaderRulesTable = option(HeaderRulesTable, "Changes of the request's head.")
    response_headers: HeaderRulesTable = option(HeaderRulesTable, "Changes of the response's head.")


class ForwardedTable(Table):
    """What servers are told about the client, and whom to believe about it."""

    x_forwarded_for: bool = option(True, "Address of the client.")
    x_forwarded_proto: bool = option(True, "http or https.")
    x_forwarded_host: bool = option(False, "Host as the client sent it.")
    x_forwarded_port: bool = option(False, "Port that the client connected to.")
    forwarded: bool = option(False, "All of it in one header (RFC 7239).")
    x_request_id: bool = option(False, "A new identifier for each request.")
    traceparent: bool = option(False, "W3C Trace Context: a valid traceparent is passed on, else a trace begins here.")
    x_forwarded_client_cert: bool = option(True, "The client's certificate, where a listener asks for one.")
    trust: Networks = option(list, "Networks of proxies whose own headers of these names are believed.")


class FrontendTable(Table):
    """What listens, and where its requests go."""

    # Needed, but known to the checks instead of the model: without it the rest is still worth checking.
    model_config = ConfigDict(json_schema_extra={"required": ["listen"]})

    listen: Listeners = option(list, "Address or list of addresses.")
    mode: Mode = option("http", "What is spoken: http, tcp or udp.")
    backend: str = option("", "Where requests go that match no route; none = 404.")
    routes: list[RouteTable] = option(list, "Tried from the first to the last.")
    redirect_https: bool = option(False, "Answer plain requests with a redirect to https.")
    hsts: Hsts = option(None, "Tell browsers to come by https only; true, a duration or a table.", shown=False)
    rate_limits: RateLimits = option(list, "How many requests, connections or bytes pass; what is over gets 429.")
    rate_limit_headers: Annotated[str, *choice("combined", "separate", "none")] = option(
        "combined", "Whether answers tell of the limits: RateLimit and RateLimit-Policy, three fields, or nothing."
    )
    bandwidth: Bandwidths = option(list, "How fast bytes of requests and responses go; a rate is that of responses.")
    access: Access | None = option(None, "Networks that may send requests; a list is the allowed ones.")
    auth: str = option("", "Who may: the name of a table of [auth].")
    mirror: Mirror | None = option(None, "Copies of requests for a second backend.")
    faults: Faults = option(list, "Faults made on purpose, to see how clients take them.")
    abort_on_close: bool = option(True, "A client that closes its side of the connection is gone.")
    max_connections: Count = option(
        0, "Client connections at a time, over all workers; more wait to be accepted. 0 = unlimited."
    )
    explain: Networks = option(
        list, "Networks whose clients get X-Fastlb-Explain with each response: route, server, attempts, times."
    )
    timeouts: TimeoutsTable = option(TimeoutsTable, "Instead of the general ones, key by key.")
    limits: LimitsTable = option(LimitsTable, "Instead of the general ones, key by key.")
    udp: UdpTable = option(UdpTable, "mode udp: what makes a flow of datagrams, and what ends it.")
    forwarded: ForwardedTable = option(ForwardedTable, "Headers that tell servers about the client.")
    request_headers: HeaderRulesTable = option(HeaderRulesTable, "Changes of every request's head.")
    response_headers: HeaderRulesTable = option(HeaderRulesTable, "Changes of every response's head.")
