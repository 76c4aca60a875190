"""Head rewriting by the letter of the rules, line by line, for comparing with `fastlb.http.rewrite`.

Reads only heads that are known to be sound: the generator of the property tests made them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, quote_from_bytes, unquote_to_bytes

from fastlb.spec import Forwarded, HeaderRules, PathRewrite
from tests.oracle.router import plain

HOP = {
    "connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade", "http2-settings",
    "proxy-authenticate", "proxy-authorization",
}  # fmt: skip
IDENTITY = {
    "x-forwarded-for": "x_forwarded_for",
    "x-forwarded-proto": "x_forwarded_proto",
    "x-forwarded-host": "x_forwarded_host",
    "x-forwarded-port": "x_forwarded_port",
    "forwarded": "forwarded",
    "x-request-id": "x_request_id",
    "x-forwarded-client-cert": "x_forwarded_client_cert",
}
# fields that Connection cannot name away: those above and the ones the parser knows
KNOWN = {
    *HOP, *IDENTITY, "host", "content-length", "expect", "trailer", "cookie", "set-cookie", "user-agent", "referer",
    "accept", "date", "retry-after", "content-type",
}  # fmt: skip

LISTS = ("x-forwarded-for", "forwarded", "x-forwarded-client-cert")

Lines = list[tuple[str, str]]


@dataclass(frozen=True)
class Info:
    client: str = "192.0.2.1"
    trusted: bool = False
    client_cert: str = ""
    https: bool = False
    port: int = 80
    request_id: str = "0123456789abcdef"


def fold(name: str) -> str:
    return name.lower().replace("_", "-")


def lookalike(name: str) -> bool:
    """Another spelling of a name that matters: dropped by everybody's leave (see http/fields.pyx)."""
    return name.lower() not in KNOWN and re.sub("[^a-z0-9-]", "-", name.lower()) in KNOWN


def parse(head: bytes) -> tuple[str, Lines]:
    first, *rest = head.decode("latin-1").lstrip("\r\n").removesuffix("\r\n\r\n").split("\r\n")
    return first, [(line.split(":", 1)[0], line.split(":", 1)[1]) for line in rest]


def members(fields: Lines, name: str) -> list[str]:
    """The list that all lines of a name make together."""
    values = [value for key, value in fields if key.lower() == name]
    return [item.strip(" \t") for value in values for item in value.split(",") if item.strip(" \t")]


def added(chain: Sequence[HeaderRules]) -> tuple[set[str], Lines]:
    """Names that a chain takes away, and the lines it leaves behind."""
    gone: set[str] = set()
    lines: Lines = []
    for rules in chain:
        for name in rules.remove:
            gone.add(name.lower())
            lines = [line for line in lines if line[0].lower() != name.lower()]
        for name, value in rules.set:
            gone.add(name.lower())
            lines = [line for line in lines if line[0].lower() != name.lower()] + [(name, value)]
        lines += rules.add
    return gone, lines


def text(first: str, lines: Lines) -> bytes:
    """Lines whose value begins with a space or tab are as received, the others get a space."""
    out = [first]
    for name, value in lines:
        out.append(f"{name}:{value}" if value.startswith(("\0", " ", "\t")) else f"{name}: {value}")
    return ("\r\n".join(out) + "\r\n\r\n").replace("\0", "").encode("latin-1")


def rewrite_path(path: str, rules: PathRewrite | None) -> str:
    """Path without query; the route's rewriting, `path` being raw."""
    if rules is None or rules == PathRewrite():
        return path
    if rules.set:
        return quote(rules.set, safe="/%!$&'()*+,;=:@~?")
    raw, done = _cut(path, rules, lambda p: quote(p, safe="/%!$&'()*+,;=:@~"))
    normal = plain(path.encode("latin-1"))
    assert normal is not None
    cooked, cooked_done = _cut(
        normal.decode("latin-1"),
        rules,
        lambda p: unquote_to_bytes(quote(p, safe="/%!$&'()*+,;=:@~")).decode("latin-1"),
        lambda rest: quote_from_bytes(rest.encode("latin-1"), safe="/!$&'()*+,;=:@~"),
    )
    return raw if done == cooked_done and (not done or not _has_dots(path)) else cooked if cooked_done else path


def _has_dots(path: str) -> bool:
    return any(s in (b".", b"..") for s in unquote_to_bytes(path).split(b"/"))


def _cut(path, rules, form, finish=lambda rest: rest):  # type: ignore[no-untyped-def]
    steps = []
    rest = path
    head = None
    prefix = form(rules.strip_prefix.rstrip("/"))
    if prefix and (rest == prefix or rest.startswith(prefix + "/")):
        rest = rest[len(prefix) :]
        steps.append("strip")
    if rules.replace_prefix is not None:
        old = form(rules.replace_prefix[0].rstrip("/"))
        if rest == old or rest.startswith(old + "/"):
            rest = rest[len(old) :]
            head = quote(rules.replace_prefix[1].rstrip("/"), safe="/%!$&'()*+,;=:@~")
            steps.append("replace")
    if not steps:
        return path, steps
    return (head or "") + finish(rest) or "/", steps


def request(
    head: bytes,
    info: Info,
    chain: Sequence[HeaderRules] = (),
    forwarded: Forwarded | None = None,
    rewrite: PathRewrite | None = None,
    default_host: str = "",
) -> bytes:
    """What the server must get for a sound request head."""
    first, fields = parse(head)
    method, target, version = first.split(" ")
    modern = version == "HTTP/1.1"
    gone, extra = added(chain)
    options = [o.lower() for o in members(fields, "connection")]
    chunked = any(name.lower() == "transfer-encoding" for name, _ in fields)
    host_rule = next((value for rules in chain[::-1] for name, value in rules.set if name.lower() == "host"), None)
    gone.discard("host")
    extra = [line for line in extra if line[0].lower() != "host"]

    absolute = re.match(r"[A-Za-z]+://([^/?]*)([^?]*)((?:\?.*)?)\Z", target)
    received_host = next((value.strip(" \t") for name, value in fields if name.lower() == "host"), None)
    authority = absolute[1] if absolute else received_host or ""
    path, mark, query = (absolute[2] + absolute[3] if absolute else target).partition("?")
    if method == "OPTIONS" and path in ("", "*") and not mark:
        new_target = "*"
    else:
        new_path = rewrite_path(path or "/", rewrite)
        new_target = new_path if rewrite and "?" in rewrite.set else new_path + mark + query

    out: Lines = []
    if host_rule is not None or absolute or received_host is None:
        out.append(("Host", host_rule if host_rule is not None else authority or default_host))
    wanted = set()
    for name, attribute in IDENTITY.items():
        if forwarded is not None and getattr(forwarded, attribute) and name not in {fold(n) for n in gone}:
            wanted.add(name)
    gone_folded = {fold(n) for n in gone}
    for name, value in fields:
        key = name.lower()
        if key in HOP or lookalike(name) or (key == "host" and out and out[0][0] == "Host"):
            continue
        if key == "content-length" and chunked:
            continue
        if key == "expect" and not modern:
            continue
        if key in options and key not in KNOWN:
            continue
        if fold(name) in gone_folded:
            continue
        if key in IDENTITY and (not info.trusted or (key in wanted and key in LISTS)):
            continue
        out.append((name, "\0" + value))
    if chunked:
        out.append(("Transfer-Encoding", "chunked"))
    offers = [p for p in members(fields, "upgrade") if p.lower() != "h2c"]
    upgrade = modern and "upgrade" in options and bool(offers)
    trailers = modern and "trailers" in [t.lower() for t in members(fields, "te")]
    if upgrade:
        out.append(("Upgrade", ", ".join(offers)))
    if upgrade or trailers:
        out.append(("Connection", ", ".join(["Upgrade"] * upgrade + ["TE"] * trailers)))
    if trailers:
        out.append(("TE", "trailers"))

    def came(name: str) -> list[str]:
        return [v.strip(" \t") for n, v in fields if n.lower() == name] if info.trusted else []

    if "x-forwarded-for" in wanted:
        chainlist = [v for v in came("x-forwarded-for") if v] + [info.client] * bool(info.client)
        if chainlist:
            out.append(("X-Forwarded-For", ", ".join(chainlist)))
    singles = {
        "X-Forwarded-Proto": "https" if info.https else "http",
        "X-Forwarded-Host": authority,
        "X-Forwarded-Port": str(info.port),
    }
    for name, value in singles.items():
        if name.lower() in wanted and not came(name.lower()) and value:
            out.append((name, value))
    if "forwarded" in wanted:
        node = f'"[{info.client}]"' if ":" in info.client else info.client or "unknown"
        element = f"for={node}" + (f';host="{authority}"' if authority else "")
        element += f";proto={'https' if info.https else 'http'}"
        out.append(("Forwarded", ", ".join([*(v for v in came("forwarded") if v), element])))
    if "x-request-id" in wanted and not came("x-request-id"):
        out.append(("X-Request-ID", info.request_id))
    if "x-forwarded-client-cert" in wanted:
        elements = [v for v in came("x-forwarded-client-cert") if v] + [info.client_cert] * bool(info.client_cert)
        if elements:
            out.append(("X-Forwarded-Client-Cert", ", ".join(elements)))
    return text(f"{method} {new_target} HTTP/1.1", out + extra)


def response(
    head: bytes,
    date: str,
    chain: Sequence[HeaderRules] = (),
    *,
    chunked: bool = False,
    client_minor: int = 1,
    close: bool = False,
    keep_alive_10: bool = False,
    dechunk: bool = False,
    upgrade: bool = False,
) -> bytes:
    """What the client must get for a sound response head; `chunked` says that the body is."""
    first, fields = parse(head)
    _, status_text, *rest = first.split(" ", 2)
    status = int(status_text)
    ruled = status >= 200 or status == 101
    gone, extra = added(chain) if ruled else (set(), [])
    options = [o.lower() for o in members(fields, "connection")]
    out: Lines = []
    for name, value in fields:
        key = name.lower()
        if key in HOP or lookalike(name) or key in gone or (key in options and key not in KNOWN):
            continue
        if key == "content-length" and (status < 200 or status == 204):
            continue
        out.append((name, "\0" + value))
    if chunked and not dechunk and client_minor:
        out.append(("Transfer-Encoding", "chunked"))
    offers = [p for p in members(fields, "upgrade") if p.lower() != "h2c"]
    passes = bool(offers) and ((upgrade and status == 101) or (status == 426 and client_minor == 1))
    if passes:
        out.append(("Upgrade", ", ".join(offers)))
    if ruled:
        connection = ["Upgrade"] * passes + ["close"] * (close and not (passes and status == 101))
        if not connection and keep_alive_10:
            connection = ["keep-alive"]
        if connection:
            out.append(("Connection", ", ".join(connection)))
    if status >= 200 and "date" not in gone | {name.lower() for name, _ in fields + extra}:
        out.append(("Date", date))
    return text(f"HTTP/1.1 {status} {rest[0] if rest else ''}", out + extra)
