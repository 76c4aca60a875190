"""From the model of a configuration that has passed every check to the frozen `Spec`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from fastlb import spec

from .convert_auth import auth, mirror
from .convert_traffic import access, bandwidths, faults, main_backend, rates, split
from .cpus import usable_cpus
from .model import Config
from .models_acme import AcmeTable
from .models_affinity import AffinityTable
from .models_backends import BackendTable, HealthCheckTable, ServerTable
from .models_discover import DiscoverTable
from .models_frontends import FrontendTable, RouteTable
from .models_global import LimitsTable, TimeoutsTable
from .models_rules import HeaderRulesTable, RespondTable
from .models_tcp import ListenTcpTable, ServerTcpTable
from .models_tls import TlsTable

# Keys that tell that a check is meant to be of HTTP, though its type is not said
_HTTP_CHECK = {"type", "path", "method", "host", "expect", "headers", "body", "body_regex"}


def to_spec(config: Config, source: str = "") -> spec.Spec:
    """Never fails: whatever could be wrong has been found before."""
    return spec.Spec(
        frontends=tuple(_frontend(config, name, table) for name, table in config.frontends.items()),
        backends=tuple(_backend(config, name, table) for name, table in config.backends.items()),
        auth=auth(config.auth),
        global_=spec.Global(
            workers=worker_count(config.global_.workers),
            max_connections=config.global_.max_connections,
            watch=config.global_.watch,
            overlay=beside(source, config.global_.overlay),
            pid_file=config.global_.pid_file,
            user=config.global_.user,
            group=config.global_.group,
        ),
        log=spec.Log(access=config.log.access, format=config.log.format, level=config.log.level),
        tls=spec.TlsSettings(ticket_rotation=config.tls.ticket_rotation, acme=_acme(config.tls.acme)),
        resolver=spec.Resolver(
            tuple(config.resolver.nameservers), **config.resolver.model_dump(exclude={"nameservers"})
        ),
        overload=spec.OverloadSteps(**config.overload.model_dump()),
        redis=spec.Redis(**config.redis.model_dump()),
        tracing=spec.Tracing(
            **{**config.tracing.model_dump(), "headers": tuple(sorted(config.tracing.headers.items()))}
        ),
        admin=spec.Admin(
            listen=config.admin.listen,
            socket=config.admin.socket,
            token=config.admin.token,
            read_only=config.admin.read_only,
            webhook=config.admin.webhook,
            webhook_level=config.admin.webhook_level,
        ),
        source=source,
    )


def beside(source: str, path: str) -> str:
    """A path of the configuration file `source`, which is where relative ones begin; '' stays ''."""
    return str(Path(source).parent / path) if path else ""


def worker_count(workers: int | str) -> int:
    """The number that "auto" stands for on this machine; a number stands for itself."""
    return usable_cpus() if isinstance(workers, str) else workers


def server_names(servers: list[ServerTable]) -> list[str]:
    """The name of each server. Where none is given it is the address; of a Unix socket the name of the file, because
    the access log separates backend and server with a slash."""
    names: list[str] = []
    given = {server.name for server in servers if server.name}
    for server in servers:
        name = server.name
        if not name:
            name = str(server.address)
            if server.address.path:
                name = base = server.address.path.rpartition("/")[2]
                number = 2
                while name in given or name in names:
                    name = f"{base}-{number}"
                    number += 1
        names.append(name)
    return names


def _overridden(general: TimeoutsTable | LimitsTable, own: TimeoutsTable | LimitsTable) -> dict[str, Any]:
    """Key by key: what the table itself sets, else what the general one sets (or its default)."""
    return {
        name: getattr(own if name in own.model_fields_set else general, name) for name in type(general).model_fields
    }


def _frontend(config: Config, name: str, table: FrontendTable) -> spec.Frontend:
    forwarded = table.forwarded.model_dump()
    forwarded["trust"] = tuple(table.forwarded.trust)
    return spec.Frontend(
        name=name,
        listen=tuple(
            spec.Listen(
                address=listener.address,
                proxy_protocol=tuple(listener.proxy_protocol),
                tcp=spec.ListenTcp(**_tcp(listener.tcp)),
                tls=_tls(listener.tls, table.mode, _acme(config.tls.acme)) if listener.tls else None,
            )
            for listener in table.listen
        ),
        mode=spec.Mode(table.mode),
        backend=table.backend,
        routes=tuple(_route(route) for route in table.routes),
        redirect_https=table.redirect_https,
        hsts=spec.Hsts(**table.hsts.model_dump()) if table.hsts else None,
        rate_limits=rates(table.rate_limits),
        bandwidth=bandwidths(table.bandwidth),
        rate_limit_headers=table.rate_limit_headers,
        access=access(table.access),
        auth=table.auth,
        mirror=mirror(table.mirror),
        faults=faults(table.faults),
        abort_on_close=table.abort_on_close,
        max_connections=table.max_connections,
        explain=tuple(table.explain),
        timeouts=spec.Timeouts(**_overridden(config.timeouts, table.timeouts)),
        limits=spec.Limits(**_overridden(config.limits, table.limits)),
        udp=spec.Udp(
            **{**table.udp.model_dump(), "responses": -1 if table.udp.responses is None else table.udp.responses}
        ),
        forwarded=spec.Forwarded(**forwarded),
        request_headers=_rules(table.request_headers),
        response_headers=_rules(table.response_headers),
    )


def _acme(table: AcmeTable | None) -> spec.Acme | None:
    if table is None:
        return None
    values = table.model_dump(exclude={"agree"})
    return spec.Acme(**values | {"contact": tuple(table.contact)})


def _tls(table: TlsTable, mode: str, acme: spec.Acme | None) -> spec.Tls:
    return spec.Tls(
        cert=tuple(table.cert),
        acme=tuple(table.acme),
        acme_cert=str(acme.certificate(tuple(table.acme))) if acme and table.acme else "",
        key=table.key,
        strict_sni=table.strict_sni,
        min_version=table.min_version,
        ciphers=table.ciphers,
        ciphersuites=tuple(table.ciphersuites),
        curves=tuple(table.curves),
        # what sessions speak is known to the user alone
        alpn=() if mode == "tcp" and "alpn" not in table.model_fields_set else tuple(table.alpn),
        handshake_timeout=table.handshake_timeout,
        handshake_rate=table.handshake_rate,
        client_auth=table.client_auth,
        client_ca=table.client_ca,
        client_crl=table.client_crl,
        client_depth=table.client_depth,
    )


def _tcp(table: ListenTcpTable | ServerTcpTable) -> dict[str, Any]:
    keepalive = spec.Keepalive(**table.keepalive.model_dump()) if table.keepalive else None
    return {**table.model_dump(), "keepalive": keepalive}


def _route(table: RouteTable) -> spec.Route:
    return spec.Route(
        name=table.name,
        host=tuple(table.host),
        path=tuple(table.path),
        methods=tuple(table.methods),
        headers=tuple(table.headers.items()),
        query=tuple(table.query.items()),
        source=tuple(table.source),
        sni=tuple(table.sni),
        alpn=tuple(table.alpn),
        rate_limits=rates(table.rate_limits),
        bandwidth=bandwidths(table.bandwidth),
        access=access(table.access),
        auth=table.auth,
        mirror=mirror(table.mirror),
        faults=faults(table.faults),
        backend=main_backend(table.split) if table.split else table.backend,
        split=split(table.split),
        redirect=spec.Redirect(location=table.redirect.location, status=table.redirect.status)
        if table.redirect
        else None,
        respond=_respond(table.respond),
        priority=table.priority,
        rewrite=spec.PathRewrite(
            strip_prefix=table.rewrite.strip_prefix,
            replace_prefix=table.rewrite.replace_prefix,
            set=table.rewrite.set,
        )
        if table.rewrite
        else None,
        request_headers=_rules(table.request_headers),
        response_headers=_rules(table.response_headers),
    )


def _respond(table: RespondTable | None) -> spec.Respond | None:
    if table is None:
        return None
    return spec.Respond(
        status=table.status,
        body=table.body,
        content_type=table.content_type,
        headers=tuple(table.headers.items()),
    )


def _rules(table: HeaderRulesTable) -> spec.HeaderRules:
    return spec.HeaderRules(
        remove=tuple(table.remove),
        set=tuple(table.set.items()),
        add=tuple((name, value) for name, values in table.add.items() for value in values),
    )


def _backend(config: Config, name: str, table: BackendTable) -> spec.Backend:
    balance = table.balance
    hashed = balance.algorithm == "consistent_hash"
    return spec.Backend(
        name=name,
        servers=tuple(
            spec.Server(
                name=server_name,
                address=server.address,
                weight=server.weight,
                backup=server.backup,
                max_connections=server.max_connections,
                state=spec.ServerState(server.state),
                send_proxy=_proxy(table.send_proxy, server.send_proxy),
                tier=server.tier,
            )
            for server_name, server in zip(server_names(table.servers), table.servers, strict=True)
        ),
        mode=spec.Mode(table.mode),
        discover=tuple(_discover(table, one) for one in table.discover),
        balance=spec.Balance(
            algorithm=balance.algorithm,
            key=balance.key,
            method=(balance.method or "maglev") if hashed else "",
            bound=balance.bound or 0.0,
            panic_threshold=balance.panic_threshold,
            overprovisioning=balance.overprovisioning,
        ),
        health_check=_health_check(table.health_check, table.mode),
        agent_check=spec.AgentCheck(**table.agent_check.model_dump()) if table.agent_check else None,
        tls=spec.ServerTls(**table.tls.model_dump() | {"alpn": tuple(table.tls.alpn)}) if table.tls else None,
        tcp=spec.ServerTcp(**_tcp(table.tcp)),
        max_connections=table.max_connections,
        max_queue=table.max_queue,
        bandwidth=bandwidths(table.bandwidth),
        adaptive_concurrency=spec.AdaptiveConcurrency(**table.adaptive_concurrency.model_dump())
        if table.adaptive_concurrency
        else None,
        overload=spec.Overload(respond=_respond(table.overload.respond), backend=table.overload.backend)
        if table.overload
        else None,
        retries=table.retries,
        retry=spec.Retry(
            on=tuple(one for one in table.retry.on if isinstance(one, str)),
            statuses=tuple(one for one in table.retry.on if not isinstance(one, str)),
            budget=table.retry.budget,
            budget_min=table.retry.budget_min,
            try_timeout=table.retry.try_timeout,
            backoff=table.retry.backoff,
            backoff_max=table.retry.backoff_max,
            buffer=table.retry.buffer,
            hedge=table.retry.hedge[0],
            hedge_percentile=table.retry.hedge[1],
        ),
        slow_start=table.slow_start,
        affinity=_affinity(table.affinity),
        proxy_tlvs=tuple(table.proxy_tlvs),
        outlier=spec.Outlier(**table.outlier.model_dump()) if table.outlier else None,
        circuit_breaker=spec.CircuitBreaker(
            **table.circuit_breaker.model_dump() | {"scope": tuple(table.circuit_breaker.scope)}
        )
        if table.circuit_breaker
        else None,
        shutdown_sessions=table.shutdown_sessions,
        timeouts=spec.Timeouts(**_overridden(config.timeouts, table.timeouts)),
        pool=spec.Pool(
            size=table.pool.size,
            idle=table.pool.idle,
            max_age=table.pool.max_age,
            max_requests=table.pool.max_requests,
        ),
        request_headers=_rules(table.request_headers),
        response_headers=_rules(table.response_headers),
    )


def _discover(backend: BackendTable, table: DiscoverTable) -> spec.Discover:
    where = table.dns or spec.Address(table.srv)
    values = table.model_dump(exclude={"dns", "srv", "send_proxy"})
    return spec.Discover(where.host, where.port, send_proxy=_proxy(backend.send_proxy, table.send_proxy), **values)


def _affinity(table: AffinityTable | None) -> spec.Affinity | None:
    return spec.Affinity(**table.model_dump() | {"secrets": tuple(table.secrets)}) if table else None


def check_type(table: HealthCheckTable, mode: str) -> str:
    """Servers of sessions are checked by connecting, unless something says otherwise."""
    return mode if mode in ("tcp", "udp") and not table.model_fields_set & _HTTP_CHECK else table.type


def _proxy(general: str, own: str) -> str:
    found = own or general
    return "" if found == "off" else found


def _health_check(table: HealthCheckTable | None, mode: str) -> spec.HealthCheck | None:
    if table is None:
        return None
    return replace(
        spec.HealthCheck(),
        type=check_type(table, mode),
        path=table.path,
        method=table.method,
        host=table.host,
        expect=tuple(table.expect),
        port=table.port,
        interval=table.interval,
        timeout=table.timeout,
        rise=table.rise,
        fall=table.fall,
        headers=tuple(table.headers.items()),
        body=table.body,
        body_regex=table.body_regex,
        tls=spec.CheckTls(**table.tls.model_dump()) if table.tls else None,
        send=table.send,
        receive=table.receive,
        command=tuple(table.command),
        address=table.address,
        down_interval=table.down_interval,
        jitter=table.jitter,
        initial=table.initial,
        send_proxy=table.send_proxy,
    )
