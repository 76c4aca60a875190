"""Who may do what on the admin interface, and what every answer says to browsers.

The Unix socket is trusted: the permissions of its file decide who can connect. On the TCP listener everybody may read
what is not PRIVATE; that and changes need the token. Nothing allows other origins to read answers (no CORS); a
listener on the loopback answers only to names of this machine, because a page of another site may make its own name
point to 127.0.0.1 (DNS rebinding).
"""

from __future__ import annotations

import hmac
import os
import re
from pathlib import Path

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fastlb.admin.problems import problem_response
from fastlb.errors import MISSING, ConfigError, Problem
from fastlb.spec import Admin

MAX_BODY = 4 << 20  # a whole configuration
SAFE = ("GET", "HEAD", "OPTIONS")
READING = ("/v1/explain",)  # a POST there changes nothing
# Who the clients are and what they sent, and header values of the file: credentials perhaps. For those who may change
# things.
PRIVATE = ("/v1/config", "/v1/connections", "/v1/errors", "/v1/logs", "/v1/mirrors", "/v1/tables")
SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'"),
)
_TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]{16,}=*\Z")


def read_token(admin: Admin, source: str = "") -> str:
    """The token of the configuration; '' when there is none. Raises ConfigError where it cannot be found."""

    def wrong(reason: str) -> ConfigError:
        return ConfigError([Problem("admin.token", MISSING, reason, file=source)])

    text = admin.token
    if text.startswith("env:"):
        name = text[4:]
        text = os.environ.get(name, "")
        if not text:
            raise wrong(f"the environment variable {name} is not set")
    elif text.startswith("file:"):
        path = Path(text[5:])
        try:
            text = path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not ASCII text"
            raise wrong(f"{path}: {reason}") from error
        if not text:
            raise wrong(f"{path} is empty")
    if text and not _TOKEN.match(text):
        raise wrong("must have at least 16 characters, of letters, digits and -._~+/")
    if admin.listen is not None and not admin.listen.loopback and not text:
        reason = f"{admin.listen} is reachable from other machines, so changes need a token"
        raise ConfigError([Problem("admin.listen", str(admin.listen), reason, file=source)])
    return text


class Guard:
    """The outermost ASGI application of a listener.

    `trusted` marks the Unix socket, `token` '' means that nobody may change anything, `hosts` limits the Host field
    (None = any). What a handler may offer stands in scope["fastlb.changes"]: "yes", "token" or "no".
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        trusted: bool = False,
        token: str = "",
        hosts: frozenset[str] | None = None,
    ) -> None:
        self._app = app
        self._trusted = trusted
        self.allow(token, hosts)

    def allow(self, token: str, hosts: frozenset[str] | None) -> None:
        """From the next request on."""
        self._token = token.encode()
        self._hosts = hosts
        self._changes = "yes" if self._trusted else "token" if token else "no"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        refusal = self._refusal(scope)

        async def secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                there = {name.lower() for name, _ in headers}
                message["headers"] = headers + [header for header in SECURITY_HEADERS if header[0] not in there]
            await send(message)

        if refusal is not None:
            status, detail, extra = refusal
            await problem_response(status, detail, headers=extra)(scope, receive, secured)
            return
        scope = dict(scope)
        scope["fastlb.changes"] = self._changes
        if scope["method"] == "HEAD":  # every resource that has a GET; the server leaves the body out
            scope["method"] = "GET"
        await self._app(scope, _limited(receive), secured)

    def _refusal(self, scope: Scope) -> tuple[int, str, dict[str, str]] | None:
        fields = scope["headers"]
        if self._hosts is not None:
            hosts = [value for name, value in fields if name == b"host"]
            if len(hosts) != 1 or host_name(hosts[0].decode("latin-1")) not in self._hosts:
                return 421, "This listener answers only to names of this machine.", {}
        length = next((value for name, value in fields if name == b"content-length"), b"0")
        if not length.isdigit() or int(length) > MAX_BODY:
            return 413, f"A request's body may have {MAX_BODY} bytes.", {}
        private = scope["path"] in PRIVATE
        reading = scope["method"] in SAFE or scope["path"] in READING
        if self._trusted or (reading and not private):
            return None
        if not self._token:
            if private:
                return 403, "This is shown on the Unix socket, or to who has admin.token.", {}
            return 403, "This listener is read-only; changes go through the Unix socket or need admin.token.", {}
        given = [value for name, value in fields if name == b"authorization"]
        scheme, _, shown = given[0].partition(b" ") if len(given) == 1 else (b"", b"", b"")
        if scheme.lower() != b"bearer" or not hmac.compare_digest(shown.strip(), self._token):
            what = "invalid_token" if given else ""
            challenge = 'Bearer realm="fastlb"' + (f', error="{what}"' if what else "")
            wants = "This needs" if private else "Changes need"
            return 401, f"{wants} the token: Authorization: Bearer TOKEN.", {"WWW-Authenticate": challenge}
        return None


def _limited(receive: Receive) -> Receive:
    """Ends a body without a length where it passes the limit: the rest is dropped, what came does not parse."""
    total = 0

    async def limited() -> Message:
        nonlocal total
        message = await receive()
        if message["type"] == "http.request":
            total += len(message.get("body", b""))
            if total > MAX_BODY:
                return {"type": "http.disconnect"}
        return message

    return limited


def host_name(value: str) -> str:
    """The host of a Host field without port and brackets, in lower case; a trailing dot does not count."""
    value = value.strip().lower()
    if value.startswith("["):
        return value[1:].partition("]")[0]
    return value.partition(":")[0].removesuffix(".")


def loopback_hosts(admin: Admin) -> frozenset[str] | None:
    """Names that a listener on the loopback answers to; None where any name will do."""
    listen = admin.listen
    if listen is None or listen.path or not listen.loopback:
        return None
    return frozenset({"localhost", "127.0.0.1", "::1", listen.host})
