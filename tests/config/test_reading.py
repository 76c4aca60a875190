"""From text, file and mapping to a Spec: defaults, overrides, shorthand, and files that cannot be read."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

import fastlb
from fastlb import spec
from fastlb.config import check_bytes, check_file, check_mapping, check_text
from fastlb.errors import MISSING, ConfigError, ConfigWarning, Problem
from fastlb.spec import Address

from .samples import EXAMPLES, MINIMAL, ROOT, texts, with_tables

# ARCHITECTURE's example, as in the README
ARCHITECTURE = """\
[global]
workers = "auto"
[admin]
listen = "127.0.0.1:8404"
socket = "/run/fastlb.sock"
[log]
access = "stdout"
format = "json"
level = "info"
[timeouts]
connect = "3s"
header = "10s"
client = "30s"
server = "60s"
idle = "75s"
tunnel = "1h"
queue = "5s"
drain = "30s"
[limits]
header_bytes = "16KB"
header_count = 100
uri = "8KB"
body = 0
[frontends.web]
listen = [":80", { address = ":443", tls = { cert = "site.pem", key = "site.key" } }]
mode = "http"
redirect_https = true
backend = "web_servers"

  [[frontends.web.routes]]
  host = "api.example.com"
  path = "/v1/*"
  methods = ["GET", "POST"]
  headers = { "X-Beta" = "1" }
  backend = "api"

[backends.web_servers]
balance = "weighted_round_robin"
  [backends.web_servers.health_check]
  type = "http"
  path = "/health"
  interval = "2s"
  timeout = "2s"
  rise = 2
  fall = 3
  [[backends.web_servers.servers]]
  name = "web1"
  address = "192.168.1.10:8080"
  weight = 3
  [[backends.web_servers.servers]]
  name = "web2"
  address = "192.168.1.11:8080"
  weight = 2
  [[backends.web_servers.servers]]
  name = "web3"
  address = "192.168.1.12:8080"
  backup = true

[backends.api]
balance = { algorithm = "consistent_hash", key = "header:X-User", method = "maglev", bound = 1.25 }
max_connections = 200
servers = ["10.0.0.1:9000", "10.0.0.2:9000", "unix:/run/api.sock"]
"""
TLS = ', { address = ":443", tls = { cert = "site.pem", key = "site.key" } }'


def read(table: str = "", base: str = MINIMAL) -> spec.Spec:
    report = check_mapping(with_tables(table, base))
    assert report.spec is not None, texts(report)
    return report.spec


def test_defaults_are_those_of_the_spec() -> None:
    found = read()
    assert found.frontends == (spec.Frontend(name="web", listen=(spec.Listen(Address("", 8080)),), backend="app"),)
    assert found.backends == (
        spec.Backend(name="app", servers=(spec.Server(name="10.0.0.1:80", address=Address("10.0.0.1", 80)),)),
    )
    assert (found.log, found.admin) == (spec.Log(), spec.Admin())
    assert found.global_.workers >= 1


def test_the_architecture_example_has_one_problem() -> None:
    report = check_text(ARCHITECTURE, "fastlb.toml")
    assert [str(problem) for problem in report.errors] == [
        'fastlb.toml:25: frontends.web.listen[1].tls.cert = "site.pem": '
        "site.pem cannot be read: No such file or directory"
    ]


def test_the_architecture_example_without_tls() -> None:
    report = check_text(ARCHITECTURE.replace(TLS, ""), "fastlb.toml")
    assert report.errors == ()
    assert report.warnings == ()
    found = report.spec
    assert found is not None
    assert found.source == "fastlb.toml"
    assert found.admin == spec.Admin(listen=Address("127.0.0.1", 8404), socket="/run/fastlb.sock")
    (web,) = found.frontends
    assert (web.timeouts, web.limits) == (spec.Timeouts(), spec.Limits())
    assert web.redirect_https
    assert web.routes == (
        spec.Route(
            host=("api.example.com",),
            path=("/v1/*",),
            methods=("GET", "POST"),
            headers=(("X-Beta", "1"),),
            backend="api",
        ),
    )
    servers, api = found.backends
    assert servers.balance == spec.Balance(algorithm="weighted_round_robin")
    assert servers.health_check == spec.HealthCheck(path="/health")
    assert [(s.name, s.weight, s.backup) for s in servers.servers] == [
        ("web1", 3, False),
        ("web2", 2, False),
        ("web3", 1, True),
    ]
    assert api.balance == spec.Balance("consistent_hash", key="header:X-User", method="maglev", bound=1.25)
    assert api.max_connections == 200
    assert [(s.name, s.address) for s in api.servers] == [
        ("10.0.0.1:9000", Address("10.0.0.1", 9000)),
        ("10.0.0.2:9000", Address("10.0.0.2", 9000)),
        ("api.sock", Address(path="/run/api.sock")),
    ]


def test_timeouts_and_limits_are_overridden_key_by_key() -> None:
    found = read(
        """
        [timeouts]
        connect = "1s"
        server = "7s"
        [limits]
        body = "1MB"
        uri = 4096
        [frontends.web.timeouts]
        client = "500ms"
        [frontends.web.limits]
        body = 0
        header_bytes = "64KB"
        [backends.app.timeouts]
        server = "3s"
        """
    )
    (web,), (app,) = found.frontends, found.backends
    assert web.timeouts == spec.Timeouts(connect=1.0, server=7.0, client=0.5)
    assert app.timeouts == spec.Timeouts(connect=1.0, server=3.0)
    assert web.limits == spec.Limits(header_bytes=65536, uri=4096, body=0)


def test_every_field_of_the_spec_can_be_set() -> None:
    """A field that no key reaches would be dead. `resolved` is the runtime's, `changes` the overlay's, `mode` and `tls`
    come later."""
    found = read(
        """
        global = { workers = 3, max_connections = 7, watch = true, overlay = "o.toml", pid_file = "/p", user = "u", \
group = "9" }
        log = { access = "./a.log", format = "combined", level = "error" }
        tracing = { sample = 0.25 }
        tls = { ticket_rotation = "1h" }
        admin = { listen = ":8404", socket = "/run/x", token = "env:T", read_only = true }
        timeouts = { connect = "1s", header = "2s", client = "3s", server = "4s", idle = "5s", tunnel = "6s", \
half_closed = "9s", queue = "7s", drain = "8s" }
        limits = { header_bytes = "2KB", header_count = 5, uri = "1KB", body = "3KB" }
        auth.a.basic.users = "ann:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="
        [frontends.web]
        listen = "127.0.0.1:81"
        rate_limits = { rate = "2/m", burst = 3, key = ["ip", "host"], ipv4_prefix = 24, ipv6_prefix = 48, \
exempt = "10.0.0.0/8", dry_run = true, name = "few" }
        rate_limit_headers = "separate"
        bandwidth = "1KB/s"
        access = { allow = "10.1.0.0/16", deny = "10.1.1.0/24", action = "drop", tarpit = "4s", tarpit_max = 5 }
        auth = "a"
        mirror = "app"
        faults = { delay = "1s" }
        redirect_https = true
        hsts = "10d"
        abort_on_close = false
        max_connections = 9
        explain = "10.1.0.0/16"
        forwarded = { x_forwarded_for = false, x_forwarded_proto = false, x_forwarded_host = true, \
x_forwarded_port = true, forwarded = true, x_request_id = true, traceparent = true, x_forwarded_client_cert = false, \
trust = ["10.0.0.0/8", "::1"] }
        request_headers = { set = { A = "1" }, add = { B = ["2", "3"], C = "4" }, remove = "D" }
        response_headers = { set = { E = "5" } }
        [[frontends.web.routes]]
        name = "one"
        host = "A.example."
        path = "/x"
        methods = "GET"
        headers = { H = "*" }
        query = { q = "1" }
        priority = "low"
        rate_limits = ["5/s", { rate = "1/h", key = "header:A" }]
        bandwidth = "2KB/s"
        access = "10.2.0.0/16"
        auth = "none"
        mirror = { backend = "app", percent = "5%" }
        faults = { percent = "2%", delay = "3s", abort = 504, header = "F" }
source = "10.1.2.3"
        split = { weights = { app = 3 }, key = "path" }
        rewrite = { strip_prefix = "/x", replace_prefix = ["/a", "/b"] }
        request_headers = { remove = ["I"] }
        response_headers = { remove = ["J"] }
        [[frontends.web.routes]]
        path = "/y"
        redirect = { location = "/z", status = 308 }
        [[frontends.web.routes]]
        path = "/z"
        respond = { status = 404, body = "no", content_type = "text/html", headers = { K = "6" } }
        [backends.app]
        servers = { name = "s", address = "[::1]:1", weight = 5, backup = true, max_connections = 2, \
state = "maint", send_proxy = "v1" }
        balance = { algorithm = "consistent_hash", key = "ip", method = "ring", bound = 2, panic_threshold = "10%", \
overprovisioning = 2 }
        bandwidth = "3KB/s"
        health_check = { type = "http", path = "/h?x=1", method = "POST", host = "h.example:81", \
expect = [200, "204", "300-302", "4xx"], port = 99, interval = "1s", timeout = "9s", rise = 4, fall = 5, \
headers = { A = "b" }, body = "fine", tls = { verify = false, ca = "/dev/null", server_name = "n.example" }, \
address = "[::2]", down_interval = "6s", jitter = "20%", initial = "down", send_proxy = true }
        tls = { verify = false, server_name = "t.example", min_version = "1.3" }
        agent_check = { port = 7, address = "::3", send = "hi", interval = "3s", timeout = "4s" }
        max_connections = 3
        max_queue = 4
        adaptive_concurrency = { initial = 11, min = 2, max = 12 }
        overload.respond.status = 503
        retries = 1
        slow_start = "5s"
        shutdown_sessions = true
        send_proxy = "v2"
        proxy_tlvs = ["unique_id", "crc32c"]
        retry = { on = ["timeout", 500, "502-504"], budget = "30%", budget_min = 4, try_timeout = "5s", \
backoff = "6s", backoff_max = "7s", buffer = "8KB", hedge = "p95" }
        affinity = { type = "table", on_unavailable = "fail", key = "uri", ipv4_prefix = 8, ipv6_prefix = 32, \
size = 9, expire = "7s" }
        outlier.consecutive_failures = 1
        outlier.interval = "2s"
        outlier.success_rate = false
        outlier.latency = 4
        outlier.latency_floor = "5s"
        outlier.min_requests = 6
        outlier.min_servers = 7
        outlier.base = "8s"
        outlier.max = "9s"
        outlier.max_ejected = 0.1
        outlier.slow_start = "11s"
        outlier.check_readmits = false
        circuit_breaker = { scope = ["backend", "server"], errors = "10%", slow = "20%", slow_after = "1500ms", \
min_requests = 3, window = "4s", open = "6s", trials = 7, trial_time = "8s", concurrency = 9 }
        pool = { size = 1, idle = "2s", max_age = "3s", max_requests = 4 }
        request_headers = { remove = ["L"] }
        response_headers = { remove = ["M"] }
        """
    )
    (web,), (app,) = found.frontends, found.backends
    one, two, three = web.routes
    times = spec.Timeouts(1, 2, 3, 4, 5, 6, 9, 7, 8)
    assert found.global_ == spec.Global(3, 7, True, "o.toml", "/p", "u", "9")
    assert found.log == spec.Log("./a.log", "combined", "error")
    assert found.tracing == spec.Tracing(0.25)
    assert found.tls == spec.TlsSettings(3600.0)
    assert web.explain == ("10.1.0.0/16",)
    assert found.admin == spec.Admin(Address("", 8404), "/run/x", "env:T", True)
    assert web.timeouts == app.timeouts == times
    assert web.limits == spec.Limits(2048, 5, 1024, 3072)
    assert web.forwarded == spec.Forwarded(False, False, True, True, True, True, True, ("10.0.0.0/8", "::1/128"), False)
    assert web.request_headers == spec.HeaderRules(("D",), (("A", "1"),), (("B", "2"), ("B", "3"), ("C", "4")))
    assert web.response_headers == spec.HeaderRules(set=(("E", "5"),))
    assert web.rate_limits == (
        spec.RateLimit(2 / 60, 3, ("ip", "host"), 24, 48, ("10.0.0.0/8",), True, span=60.0, name="few"),
    )
    assert web.rate_limit_headers == "separate"
    assert web.access == spec.Access(("10.1.0.0/16",), ("10.1.1.0/24",), "drop", 4.0, 5)
    assert web.faults == (spec.Fault(delay=1.0),)
    assert (web.auth, web.mirror) == ("a", spec.Mirror("app"))
    assert [one.name for one in found.auth] == ["a"]
    assert (web.redirect_https, web.abort_on_close, web.max_connections) == (True, False, 9)
    assert one == spec.Route(
        name="one",
        host=("a.example",),
        path=("/x",),
        methods=("GET",),
        headers=(("H", "*"),),
        query=(("q", "1"),),
        priority="low",
        source=("10.1.2.3/32",),
        rate_limits=(spec.RateLimit(5.0), spec.RateLimit(1 / 3600, key=("header:A",), span=3600.0)),
        bandwidth=(spec.Bandwidth(2048.0),),
        access=spec.Access(("10.2.0.0/16",)),
        auth="none",
        mirror=spec.Mirror("app", 0.05),
        faults=(spec.Fault(0.02, 3.0, 504, "F"),),
        backend="app",
        split=spec.Split((("app", 3),), "path"),
        rewrite=spec.PathRewrite("/x", ("/a", "/b")),
        request_headers=spec.HeaderRules(remove=("I",)),
        response_headers=spec.HeaderRules(remove=("J",)),
    )
    assert two == spec.Route(path=("/y",), redirect=spec.Redirect("/z", 308))
    assert three == spec.Route(path=("/z",), respond=spec.Respond(404, "no", "text/html", (("K", "6"),)))
    assert app == spec.Backend(
        name="app",
        servers=(spec.Server("s", Address("::1", 1), 5, True, 2, state=spec.ServerState.MAINT, send_proxy="v1"),),
        balance=spec.Balance("consistent_hash", "ip", "ring", 2.0, 0.1, 2.0),
        health_check=spec.HealthCheck(
            "http",
            "/h?x=1",
            "POST",
            "h.example:81",
            ((200, 200), (204, 204), (300, 302), (400, 499)),
            99,
            1,
            9,
            4,
            5,
            headers=(("A", "b"),),
            body="fine",
            tls=spec.CheckTls(False, "/dev/null", "n.example"),
            address="::2",
            down_interval=6,
            jitter=0.2,
            initial="down",
            send_proxy=True,
        ),
        tls=spec.ServerTls(verify=False, server_name="t.example", min_version="1.3"),
        agent_check=spec.AgentCheck(7, "::3", "hi", 3.0, 4.0),
        max_connections=3,
        max_queue=4,
        bandwidth=(spec.Bandwidth(3072.0),),
        adaptive_concurrency=spec.AdaptiveConcurrency(11, 2, 12),
        overload=spec.Overload(respond=spec.Respond(503)),
        retries=1,
        slow_start=5.0,
        shutdown_sessions=True,
        proxy_tlvs=("unique_id", "crc32c"),
        retry=spec.Retry(("timeout",), ((500, 500), (502, 504)), 0.3, 4, 5.0, 6.0, 7.0, 8192, 0.0, 0.95),
        affinity=spec.Affinity(
            "table", on_unavailable="fail", key="uri", ipv4_prefix=8, ipv6_prefix=32, size=9, expire=7
        ),
        outlier=spec.Outlier(1, 2.0, False, 4.0, 5.0, 6, 7, 8.0, 9.0, 0.1, 11.0, False),
        circuit_breaker=spec.CircuitBreaker(("backend", "server"), 0.1, 0.2, 1.5, 3, 4.0, 6.0, 7, 8.0, 9),
        timeouts=times,
        pool=spec.Pool(1, 2.0, 3.0, 4),
        request_headers=spec.HeaderRules(remove=("L",)),
        response_headers=spec.HeaderRules(remove=("M",)),
    )
    unset = {
        f"{type(item).__name__}.{field.name}"
        for item in (
            found,
            web,
            one,
            app,
            app.servers[0],
            app.health_check,
            app.balance,
            app.pool,
            found.log,
            times,
            app.outlier,
            app.retry,
            app.circuit_breaker,
            app.agent_check,
            app.health_check.tls,
        )
        for field in dataclasses.fields(item)  # type: ignore[arg-type]
        if getattr(item, field.name) == field.default
    }
    assert unset == {
        "Spec.source", "Frontend.mode", "Frontend.backend", "Route.redirect", "Route.respond",
        "Route.sni", "Route.alpn", "Backend.mode", "Backend.discover", "Server.source", "Server.host", "Server.tier",
        "HealthCheck.type", "Server.resolved", "Server.slow_start", "Spec.changes", "HealthCheck.body_regex",
        "HealthCheck.send", "Retry.hedge", "HealthCheck.receive", "HealthCheck.command",
    } - {"Frontend.backend"}  # fmt: skip


@pytest.mark.parametrize(
    ("servers", "names"),
    [
        (["unix:/a/x.sock", "unix:/b/x.sock"], ["x.sock", "x.sock-2"]),
        (["unix:@app"], ["@app"]),
        ([{"address": "unix:/a/x", "name": "y"}, "unix:/b/y"], ["y", "y-2"]),
        (["[::1]:80", "a.example:80"], ["[::1]:80", "a.example:80"]),
    ],
)
def test_servers_without_a_name_are_called_by_their_address(servers: list[Any], names: list[str]) -> None:
    report = check_mapping(
        {"frontends": {"f": {"listen": ":1", "backend": "b"}}, "backends": {"b": {"servers": servers}}}
    )
    assert report.spec is not None
    assert [server.name for server in report.spec.backends[0].servers] == names


def test_a_hash_without_a_method_is_maglev() -> None:
    assert read('[backends.app]\nbalance = { algorithm = "consistent_hash", key = "uri" }').backends[0].balance == (
        spec.Balance("consistent_hash", key="uri", method="maglev")
    )


def test_mappings_may_hold_tuples_and_paths_and_are_left_alone() -> None:
    mapping = {
        "log": {"access": Path("/var/log/access.log")},
        "frontends": {"web": {"listen": (":80",), "backend": "app"}},
        "backends": {"app": {"servers": ("10.0.0.1:80",)}},
    }
    copy = {key: dict(value) for key, value in mapping.items()}
    found = fastlb.parse(mapping)
    assert found.log.access == "/var/log/access.log"
    assert mapping == copy


def test_load_and_parse_agree(tmp_path: Path) -> None:
    file = tmp_path / "fastlb.toml"
    file.write_text(MINIMAL)
    loaded = fastlb.load(file)
    assert loaded.source == str(file)
    assert dataclasses.replace(loaded, source="") == fastlb.parse(MINIMAL)


def test_errors_are_raised_all_together(tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(MINIMAL.replace("listen", "lisen").replace('"app"', '"ap"'))
    with pytest.raises(fastlb.ConfigError) as caught:
        fastlb.load(file)
    assert caught.value.problems == [
        Problem("frontends.web.lisen", ":8080", "unknown key", "listen", str(file), 2),
        Problem("frontends.web.backend", "ap", "there is no backend of this name", "app", str(file), 3),
    ]
    assert str(caught.value) == (
        f'{file}:2: frontends.web.lisen = ":8080": unknown key; did you mean "listen"?\n'
        f'{file}:3: frontends.web.backend = "ap": there is no backend of this name; did you mean "app"?'
    )


def test_warnings_are_warned() -> None:
    with pytest.warns(ConfigWarning) as caught:
        fastlb.parse(MINIMAL + '[backends.spare]\nservers = ["10.0.0.2:80"]\n', source="x.toml")
    assert [str(w.message) for w in caught] == [
        "x.toml:6: warning: backends.spare: no frontend and no route uses this backend"
    ]
    assert caught[0].filename == __file__


def test_a_good_configuration_warns_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fastlb.parse(MINIMAL)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'[log]\naccess = "\xff"\n', "x:2:11: TOML is UTF-8, and byte 0xff here is not"),
        (b"a = \n", "x:1:5: not valid TOML: invalid value"),
        (b"listen: 80\n", "x:1:7: not valid TOML: expected '=' after a key in a key/value pair"),
        (b"[a]\n[a]\n", "x:2:3: not valid TOML: cannot declare a twice"),
        (b"[a.b]\n[a.b]\n", "x:2:5: not valid TOML: cannot declare a.b twice"),
        (b"a = 1\na = 2\n", "x:2:6: not valid TOML: cannot overwrite a value"),
        (b"a = [\n", "x:2:1: not valid TOML: invalid value"),
        (b"a = " + b"[" * 5000, "x: nested too deeply"),
        (b"\xef\xbb\xbf", "x: frontends: there is no frontend, so nothing would listen"),
        (b"frontends = 3", "x:1: frontends = 3: must be a table"),
        (b"", "x: frontends: there is no frontend, so nothing would listen"),
    ],
)
def test_texts_that_are_no_configuration(data: bytes, message: str) -> None:
    assert texts(check_bytes(data, "x")) == [message]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    missing = tmp_path / "none.toml"
    assert texts(check_file(missing)) == [f"{missing}: cannot be read: No such file or directory"]
    assert texts(check_file(tmp_path)) == [f"{tmp_path}: cannot be read: Is a directory"]


def test_a_file_name_in_the_place_of_a_text() -> None:
    with pytest.raises(ConfigError, match=r"to read a file, call fastlb\.load\(\)"):
        fastlb.parse("fastlb.toml")


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (Problem("a.b", 1, "is wrong"), "a.b = 1: is wrong"),
        (Problem("a.b", True, "is wrong", "c"), 'a.b = true: is wrong; did you mean "c"?'),
        (Problem("a", MISSING, "is needed", file="f.toml", line=3), "f.toml:3: a: is needed"),
        (Problem("", MISSING, "is wrong", file="f.toml", line=3, column=9), "f.toml:3:9: is wrong"),
        (Problem("a", "x", "is odd", file="f", severity="warning"), 'f: warning: a = "x": is odd'),
        (Problem("a", "x\n\x1b[31m\u202e", "no"), 'a = "x\\n\\x1b[31m\\u202e": no'),
        (Problem("a", "x" * 100, "no"), f'a = "{"x" * 70}…: no'),
        (Problem("a", {"b": [1, "c"], "d": {}}, "no"), 'a = { b = [1, "c"], d = {} }: no'),
        (Problem("a", None, "no"), "a = None: no"),
    ],
)
def test_a_problem_is_one_line(problem: Problem, text: str) -> None:
    assert str(problem) == text


def test_importing_fastlb_is_light() -> None:
    code = "import sys, fastlb; print({'pydantic', 'click', 'uvloop', 'fastlb.config'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


def test_public_names() -> None:
    assert set(fastlb.__all__) <= set(dir(fastlb))
    assert fastlb.Spec is spec.Spec
    for name in fastlb.__all__:
        assert getattr(fastlb, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = fastlb.nonsense


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_have_neither_errors_nor_warnings(path: Path) -> None:
    assert texts(check_file(path)) == []


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 4


@pytest.mark.parametrize("listen", ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1", "unix:/run/x"])
def test_an_admin_listener_of_this_machine_alone_needs_no_token(listen: str) -> None:
    assert read(f'[admin]\nlisten = "{listen}"').admin.token == ""


@pytest.mark.parametrize("listen", [":1", "0.0.0.0:1", "[::]:1", "10.0.0.1:1", "lb.example.com:1", "127.example.com:1"])
def test_an_admin_listener_for_others_needs_a_token(listen: str) -> None:
    report = check_mapping(with_tables(f'[admin]\nlisten = "{listen}"'))
    assert [(p.key, p.nearest) for p in report.errors] == [("admin.listen", "127.0.0.1:1")]
    assert read(f'[admin]\nlisten = "{listen}"\ntoken = "{"x" * 16}"').admin.token == "x" * 16


def test_the_token_is_in_no_repr() -> None:
    found = read(f'[admin]\nlisten = ":1"\ntoken = "{"secret" * 4}"')
    assert "secret" not in repr(found)
