"""A request that somebody asks about: what a client would have to send for it."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from fastlb.spec import Frontend, Listen, Mode, Spec

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class QuestionError(ValueError):
    """The question makes no sense; the text says why."""


@dataclass(frozen=True, slots=True)
class Question:
    """`url` is a whole one or a path; udp://host:port asks of a datagram. `client`: an address without port, or 'unix'.

    `frontend` names the one that is asked; '' = the one that listens where the URL points. A session of mode tcp is
    written tcp://NAME:PORT, with ?alpn=one,two where the ClientHello offers protocols; NAME is its server name, unless
    it is an address.
    """

    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    client: str = "127.0.0.1"
    frontend: str = ""

    def __post_init__(self) -> None:
        if self.client != "unix":
            try:
                ipaddress.ip_address(self.client)
            except ValueError:
                raise QuestionError(f"{self.client!r} is not an address") from None
        for text in (self.method, self.url, *(part for field in self.headers for part in field)):
            if _CONTROL.search(text):
                raise QuestionError(f"{text!r} holds a control character")
        if not self.method or " " in self.method:
            raise QuestionError(f"{self.method!r} is not a method")
        if not self.url.startswith("/") and self.url != "*" and not self._parts()[1]:
            raise QuestionError(f"{self.url!r} is neither a URL such as http://host/path nor a path")

    def _parts(self) -> tuple[str, str, str]:
        """Scheme, authority and the rest as it is written."""
        match = re.match(r"(https?|udp|tcp)://([^/?#]*)([^#]*)", self.url, re.IGNORECASE)
        return (match[1].lower(), match[2], match[3]) if match else ("", "", self.url.partition("#")[0])

    @property
    def scheme(self) -> str:
        """http, https, udp or tcp; '' when the URL is a path."""
        return self._parts()[0]

    @property
    def port(self) -> int | None:
        """Where the URL points; None when it is a path, or a session's and names none. Raises QuestionError."""
        scheme, authority, _ = self._parts()
        if not authority:
            return None
        try:
            port = urlsplit(f"//{authority}").port
            return port if scheme in ("udp", "tcp") else port or (443 if scheme == "https" else 80)
        except ValueError:
            raise QuestionError(f"{authority!r} has no valid port") from None

    @property
    def server_name(self) -> str:
        """What the ClientHello of a session asks for; '' = nothing, as for addresses (RFC 6066 section 3)."""
        host = urlsplit(f"//{self._parts()[1]}").hostname or ""
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return host
        return ""

    @property
    def protocols(self) -> tuple[str, ...]:
        """What the ClientHello of a session offers by ALPN. Raises QuestionError."""
        query = parse_qs(self._parts()[2].partition("?")[2])
        found = tuple(one for value in query.get("alpn", ()) for one in value.split(",") if one)
        if any(len(one.encode()) > 255 for one in found):
            raise QuestionError("a protocol has at most 255 bytes")
        return found

    def head(self) -> bytes:
        """The head that a client sends: the target in origin form, Host, then the fields given."""
        _, authority, target = self._parts()
        if not target.startswith("/") and target != "*":
            target = f"/{target}"
        lines = [f"{self.method} {target} HTTP/1.1"]
        if not any(name.lower() == "host" for name, _ in self.headers):
            lines.append(f"Host: {authority.rpartition('@')[2] or 'localhost'}")
        lines += [f"{name}: {value}" for name, value in self.headers]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape")


def find_frontend(spec: Spec, question: Question) -> tuple[Frontend, Listen]:
    """The frontend that gets the request and its address that does. Raises QuestionError naming the choices."""
    mode = {"udp": Mode.UDP, "tcp": Mode.TCP}.get(question.scheme, Mode.HTTP)
    frontends = [f for f in spec.frontends if f.mode is mode]
    if question.frontend:
        frontends = [f for f in frontends if f.name == question.frontend]
        if not frontends:
            raise QuestionError(f"there is no {mode.name} frontend {question.frontend!r}{_choices(spec)}")
    port, tls = question.port, question.scheme == "https"
    there = [(f, listen) for f in frontends for listen in f.listen if port in (None, listen.address.port)]
    fitting = [(f, listen) for f, listen in there if port is None or (listen.tls is not None) == tls]
    found = fitting or there
    if not found and len(frontends) == 1:
        # Ports of a container or of a balancer in front differ; with one frontend there is nothing to confuse.
        return frontends[0], _listen(frontends[0], tls)
    if len({f.name for f, _ in found}) > 1 and len(spec.frontends) > 1:
        raise QuestionError(f"several frontends could be meant; name one{_choices(spec)}")
    if not found:
        raise QuestionError(f"no frontend listens on port {port}; name one{_choices(spec)}")
    return found[0]


def _listen(frontend: Frontend, tls: bool) -> Listen:
    return next((one for one in frontend.listen if (one.tls is not None) == tls), frontend.listen[0])


def _choices(spec: Spec) -> str:
    return f" (there are {', '.join(f.name for f in spec.frontends)})"
