"""What becomes of a request and why: route, rules, servers. Asked of the very objects that workers are made of.

The parser, the router and the rewriting are the engine's; the balancer picks from a copy of the shared records. Nothing
is sent and nothing changes. Takes a few milliseconds with thousands of servers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from fastlb.control.auth_rules import auth_of, auth_rules, describe, mirror_of
from fastlb.control.explain_servers import Balance, explain_servers
from fastlb.control.question import Question, QuestionError, find_frontend
from fastlb.control.region import DRAIN, MAINT, UP, Region
from fastlb.control.rule_order import forwarded_of, header_rules, route_name
from fastlb.control.server_state import publish
from fastlb.control.slots import Assignment, Slots
from fastlb.engine.networks import Networks
from fastlb.engine.router import Router
from fastlb.engine.rules import Redirect, Respond, https_redirect
from fastlb.engine.tcp_router import TcpRouter
from fastlb.http.parser import Refused, RequestParser
from fastlb.http.rewrite import RequestPlan
from fastlb.spec import Backend, Frontend, HeaderRules, Listen, Mode, PathRewrite, Route, ServerState, Spec, Udp

NO_HEAD = b"GET / HTTP/1.1\r\nHost: -\r\n\r\n"  # for who wants one: nothing of it is a key of datagrams
SHOWN = 100  # routes before the one that matched, of which is said why they did not


@dataclass(frozen=True, slots=True)
class Passed:
    """A route that did not match."""

    route: str
    why: list[str]


@dataclass(frozen=True, slots=True)
class Rule:
    """What one owner changes of a head."""

    owner: str  # 'frontend web', 'route api', 'backend app', 'forwarded'
    message: str  # request | response
    what: str


@dataclass(slots=True)
class Explanation:
    """The way of one request. `outcome`: proxied | redirected | answered | not found | refused | no server | queued."""

    outcome: str
    status: int  # answered without a server; 0 = a server answers
    text: str  # the outcome in a sentence
    frontend: str
    listen: str
    client: str
    trusted: bool  # the client's own X-Forwarded-* and the like are believed
    live: bool  # servers are as they stand now; else taken as up and idle
    head: str  # as the client sends it
    route: str = ""  # its name or place; 'default' when none matched
    passed: list[Passed] = field(default_factory=list)
    passed_more: int = 0  # routes before that are not in `passed`
    rules: list[Rule] = field(default_factory=list)
    sent: str = ""  # the head as the server gets it
    answer: str = ""  # the head of a redirect or fixed response
    auth: str = ""  # who is asked about the request; '' = nobody
    mirror: str = ""  # backend that gets a copy of it
    rate_limits: int = 0  # rules that count the request; whether one of them is used up is not said
    balance: Balance | None = None


def explain(spec: Spec, assignment: Assignment, region: Region, question: Question, *, live: bool) -> Explanation:
    """Follows a request through `spec`. Raises QuestionError when the question makes no sense."""
    frontend, listen = find_frontend(spec, question)
    if frontend.mode is Mode.UDP:
        return _datagram(spec, assignment, region, frontend, listen, question.client, live=live)
    if frontend.mode is Mode.TCP:
        return _session(spec, assignment, region, question, frontend, str(listen.address), live)
    head = question.head()
    client = question.client
    trusted = client in Networks(frontend.forwarded.trust)
    told = Explanation(
        "refused", 400, "", frontend.name, str(listen.address), client, trusted, live, head.decode("utf-8", "replace")
    )  # fmt: skip
    limits = frontend.limits
    parser = RequestParser(header_bytes=limits.header_bytes, header_count=limits.header_count, uri=limits.uri)
    try:
        whole = parser.feed(head)
    except Refused as error:
        told.status, told.text = error.status, error.reason
        return told
    if not whole:
        told.text = "the head is not complete"
    elif question.method == "CONNECT":
        told.status, told.text = 405, "CONNECT is not offered"
    elif 0 < limits.body < parser.content_length:
        told.status, told.text = 413, "request body longer than limits.body"
    elif frontend.redirect_https and listen.tls is None:
        told.outcome, told.answer = "redirected", _shown(https_redirect(head))
        _name_redirect(told, "redirect_https")
    else:
        _routed(told, spec, assignment, region, frontend, listen, head)
    return told


def explain_offline(spec: Spec, question: Question) -> Explanation:
    """Follows a request through a configuration that does not run: its servers are taken as up and idle."""
    slots = Slots()
    assignment = slots.assign(spec)
    region = Region.create(False, 1)
    publish(region, spec, assignment, slots.fresh())
    for backend in spec.backends:
        for server in backend.servers:
            flags = {ServerState.DRAIN: DRAIN, ServerState.MAINT: MAINT}.get(server.state, 0)
            region.change_state(assignment.server(backend.name, server.address), set=UP | flags)
    return explain(spec, assignment, region, question, live=False)


def _datagram(
    spec: Spec, assignment: Assignment, region: Region, frontend: Frontend, listen: Listen, client: str, *, live: bool
) -> Explanation:
    """What becomes of the first datagram of a flow: there are no routes, and it has no head."""
    told = Explanation("refused", 0, "", frontend.name, str(listen.address), client, False, live, "", "default")
    if client == "unix":
        raise QuestionError("datagrams come from an address")
    backend = next(b for b in spec.backends if b.name == frontend.backend)
    told.rules = [Rule(f"frontend {frontend.name}", "request", _flows(frontend.udp))]
    told.balance = explain_servers(backend, assignment, region, NO_HEAD, client)
    told.outcome, told.status, told.text = told.balance.outcome()
    if told.outcome != "proxied":
        told.outcome, told.status, told.text = "refused", 0, f"is dropped: no server of {backend.name} takes it"
    return told


def _flows(udp: Udp) -> str:
    what = {
        "packet": "each datagram goes to a server by itself",
        "source": "all of one client address go to one server",
    }.get(udp.flow, "those of one client address and port go to one server")
    if udp.responses == 0 and udp.requests <= 1:
        return f"{what}; no answers are awaited"
    ends = [f"{udp.idle:g} s of silence"]
    if udp.responses >= 0:
        ends.insert(0, f"{udp.responses} answer{'s' * (udp.responses != 1)} to each")
    return f"{what}; a flow is over after {' or '.join(ends)}"


def _session(
    spec: Spec, assignment: Assignment, region: Region, question: Question, frontend: Frontend, listen: str, live: bool
) -> Explanation:
    """A session of mode tcp, by what its ClientHello says and where it comes from."""
    name, protocols, client = question.server_name, question.protocols, question.client
    told = Explanation("refused", 0, "", frontend.name, listen, client, False, live, "")
    offered = [protocol.encode() for protocol in protocols]
    index = TcpRouter(frontend.routes).find(name, offered, client)
    before = frontend.routes if index is None else frontend.routes[:index]
    for number, route in enumerate(before[:SHOWN]):
        why = [
            f"{key} is {', '.join(said) or 'none'}"
            for key, wanted, said, alone in (
                ("sni", route.sni, (name,) if name else (), replace(route, alpn=(), source=())),
                ("alpn", route.alpn, protocols, replace(route, sni=(), source=())),
                ("source", route.source, (client,), replace(route, sni=(), alpn=())),
            )
            if wanted and TcpRouter((alone,)).find(name, offered, client) is None
        ]
        told.passed.append(Passed(route_name(frontend, number), why))
    told.passed_more = len(before) - len(told.passed)
    found = None if index is None else frontend.routes[index]
    told.route = route_name(frontend, len(frontend.routes) if index is None else index)
    told.rate_limits = len(frontend.rate_limits) + (len(found.rate_limits) if found else 0)
    wanted = found.backend if found else frontend.backend
    backend = next((b for b in spec.backends if b.name == wanted), None)
    if backend is None:
        told.text = "no route matches and there is no backend: the connection is closed"
        return told
    told.balance = explain_servers(backend, assignment, region, b"GET / HTTP/1.1\r\nHost: session\r\n\r\n", client)
    told.outcome, _, told.text = told.balance.outcome()
    return told


def _routed(
    told: Explanation,
    spec: Spec,
    assignment: Assignment,
    region: Region,
    frontend: Frontend,
    listen: Listen,
    head: bytes,
) -> None:
    try:
        index = Router(frontend.routes).find(head, told.client)
    except ValueError:
        told.text = "the path names different things to different servers"
        return
    before = frontend.routes if index is None else frontend.routes[:index]
    told.passed = [
        Passed(route_name(frontend, number), _why_not(route, head, told.client))
        for number, route in enumerate(before[:SHOWN])
    ]
    told.passed_more = len(before) - len(told.passed)
    route = None if index is None else frontend.routes[index]
    told.route = route_name(frontend, len(frontend.routes) if index is None else index)
    told.rate_limits = len(frontend.rate_limits) + (len(route.rate_limits) if route else 0)
    auth = auth_of(spec, frontend, route)
    told.auth = describe(auth) if auth is not None else ""
    name = route.backend if route else frontend.backend
    copy = mirror_of(frontend, route)
    told.mirror = copy.backend if copy is not None and name else ""
    backend = next((b for b in spec.backends if b.name == name), None)
    told.rules = _rules(frontend, route, backend, told.route)
    changes, answers = header_rules(frontend, route, backend)
    if auth is not None and backend is not None:
        own = auth_rules(auth)
        changes = [own, *changes]
        told.rules[:0] = [Rule(f"auth {auth.name}", "request", text) for text in _changes(own)]
    if backend is not None:
        plan = RequestPlan(changes, forwarded_of(frontend), route.rewrite if route else None)
        https = listen.tls is not None
        client = "" if told.client == "unix" else told.client
        try:
            sent = plan.apply(head, client=client, trusted=told.trusted, https=https, port=listen.address.port)
        except ValueError:
            told.text = "the target cannot be passed on safely"
            return
        told.sent = _shown(sent)
        told.balance = explain_servers(backend, assignment, region, head, told.client)
        told.outcome, told.status, told.text = told.balance.outcome()
    elif route is not None and route.redirect is not None:
        redirect = Redirect(route.redirect.location, route.redirect.status, answers)
        told.outcome, told.answer = "redirected", _shown(redirect.apply(head, https=listen.tls is not None))
        _name_redirect(told, "the route's redirect")
    elif route is not None and route.respond is not None:
        fixed = route.respond
        respond = Respond(fixed.status, fixed.body, fixed.content_type, fixed.headers, answers)
        told.outcome, told.answer, told.status = "answered", _shown(respond.apply(head)), fixed.status
        told.text = f"the route's fixed response, {fixed.status}"
    else:
        told.outcome, told.status, told.text = "not found", 404, "no route matches and the frontend has no backend"


def _name_redirect(told: Explanation, by: str) -> None:
    told.status = int(told.answer.split(" ", 2)[1])
    location = re.search(r"(?mi)^location: (.*)$", told.answer)
    told.text = f"{told.status} to {location[1] if location else '?'} by {by}"


def _shown(message: bytes) -> str:
    """The head alone, lines ended by \\n."""
    return message.partition(b"\r\n\r\n")[0].decode("utf-8", "replace").replace("\r\n", "\n")


# Each condition is asked of a router that has it alone: what it says is what the engine does.
def _why_not(route: Route, head: bytes, client: str) -> list[str]:
    """The conditions of the route that the request does not meet."""

    def holds(**condition: object) -> bool:
        alone = replace(Route(), **condition)  # type: ignore[arg-type]
        return Router((alone,)).find(head, client) is not None

    text = head.decode("utf-8", "replace")
    method, target = text.split(" ", 2)[:2]
    path, _, query = target.partition("?")
    why = []
    if route.host and not holds(host=route.host):
        why.append(f"host is {_field(text, 'host')}, not {_either(route.host)}")
    if route.path and not holds(path=route.path):
        why.append(f"path is {path}, not {_either(route.path)}")
    if route.methods and not holds(methods=route.methods):
        why.append(f"method is {method}, not {_either(route.methods)}")
    for name, value in route.headers:
        if not holds(headers=((name, value),)):
            found = _field(text, name)
            why.append(f"{name} is {found}, not {value}" if found else f"there is no {name}")
    for name, value in route.query:
        if not holds(query=((name, value),)):
            why.append(f"?{query} has no {name}={value}" if query else f"there is no parameter {name}")
    if route.source and not holds(source=route.source):
        why.append(f"{client} is not in {_either(route.source)}")
    return why


def _field(head: str, name: str) -> str:
    found = re.findall(rf"(?mi)^{re.escape(name)}:[ \t]*(.*?)[ \t]*\r$", head)
    return ", ".join(found)


def _either(values: Sequence[str]) -> str:
    return values[0] if len(values) == 1 else f"one of {', '.join(values)}"


def _rules(frontend: Frontend, route: Route | None, backend: Backend | None, name: str) -> list[Rule]:
    """All rules that run, in their order."""
    owners: list[tuple[str, Frontend | Route | Backend]] = [(f"frontend {frontend.name}", frontend)]
    if route is not None:
        owners.append((f"route {name}", route))
    if backend is not None:
        owners.append((f"backend {backend.name}", backend))
    rules = [
        Rule(owner, message, text)
        for message in ("request", "response")
        for owner, one in owners
        for text in _changes(one.request_headers if message == "request" else one.response_headers)
    ]
    if route is not None and route.rewrite is not None and backend is not None:
        rules.insert(0, Rule(owners[1][0], "request", _rewrite(route.rewrite)))
    if backend is not None:
        on = [
            name
            for name in (
                "x_forwarded_for", "x_forwarded_proto", "x_forwarded_host", "x_forwarded_port", "forwarded",
                "x_request_id", "traceparent",
            )
            if getattr(frontend.forwarded, name)
        ]  # fmt: skip
        if on:
            rules.insert(0, Rule("forwarded", "request", f"write {', '.join(on)}"))
    return rules


def _changes(rules: HeaderRules) -> list[str]:
    return [
        *(f"remove {name}" for name in rules.remove),
        *(f"set {name}: {value}" for name, value in rules.set),
        *(f"add {name}: {value}" for name, value in rules.add),
    ]


def _rewrite(rewrite: PathRewrite) -> str:
    if rewrite.set:
        return f"path becomes {rewrite.set}"
    parts = [f"strip {rewrite.strip_prefix}"] if rewrite.strip_prefix else []
    if rewrite.replace_prefix:
        parts.append(f"replace {rewrite.replace_prefix[0]} by {rewrite.replace_prefix[1]}")
    return "path: " + ", ".join(parts)
