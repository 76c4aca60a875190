"""Asks a running fastlb over its admin socket or URL."""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

DEFAULT_SOCKET = "/run/fastlb.sock"
TIMEOUT = 60.0  # seconds; a reload of ten thousand servers takes its time


class ApiFailure(Exception):
    """What was asked for did not happen. `status` is that of the answer, 0 = there was none."""

    def __init__(self, text: str, status: int = 0, errors: list[dict[str, str]] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.errors = errors or []


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(self._path)
        except BaseException:
            self.sock.close()
            raise


@dataclass(frozen=True, slots=True)
class Place:
    """Where the admin interface listens: a Unix socket, or a URL."""

    socket: str = ""
    url: str = ""
    token: str = ""

    def __str__(self) -> str:
        return self.url or self.socket


def find_place(path: str, url: str, token: str) -> Place:
    """From the options, else the environment (FASTLB_URL, FASTLB_SOCKET, FASTLB_TOKEN), else the usual socket."""
    token = token or os.environ.get("FASTLB_TOKEN", "")
    if not path and not url:
        url, path = os.environ.get("FASTLB_URL", ""), os.environ.get("FASTLB_SOCKET", "")
    if url and "://" not in url:
        url = f"http://{url}"
    return Place(url=url.rstrip("/"), token=token) if url else Place(socket=path or DEFAULT_SOCKET, token=token)


class Client:
    """One place. Connections live for one request each."""

    def __init__(self, place: Place, timeout: float = TIMEOUT) -> None:
        self.place = place
        self._timeout = timeout

    def get(self, path: str, **query: object) -> Any:
        """JSON of a 200. Raises ApiFailure."""
        wanted = {key: value for key, value in query.items() if value is not None}
        return self.ask("GET", f"{path}?{urlencode(wanted)}" if wanted else path)

    def ask(self, method: str, target: str, data: Any = None) -> Any:
        """JSON of a good answer; `data` is sent as JSON, bytes as they are. Raises ApiFailure."""
        connection = self._connect(self._timeout)
        try:
            response = self._request(connection, method, target, data)
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error
        finally:
            connection.close()
        return json.loads(body) if body else None

    def stream(self, target: str, silence: float = 60.0) -> Iterator[tuple[str, str]]:
        """(event, data) of server-sent events until the other side ends, or is silent for longer than it may be."""
        connection = self._connect(silence)
        try:
            response = self._request(connection, "GET", target, None, accept="text/event-stream")
            event = ""
            data: list[str] = []
            while line := response.readline():
                text = line.decode("utf-8", "replace").rstrip("\r\n")
                name, _, value = text.partition(":")
                if not text:
                    if data:
                        yield event, "\n".join(data)
                    event, data = "", []
                elif name == "event":
                    event = value.removeprefix(" ")
                elif name == "data":
                    data.append(value.removeprefix(" "))
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error
        finally:
            connection.close()

    def _connect(self, timeout: float) -> http.client.HTTPConnection:
        if self.place.socket:
            return _UnixConnection(self.place.socket, timeout)
        try:
            parts = urlsplit(self.place.url)
            port = parts.port
        except ValueError as error:
            raise ApiFailure(f"{self.place.url}: {error}") from error
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ApiFailure(f"{self.place.url}: not an http or https URL")
        if parts.scheme == "https":
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(parts.hostname, port, timeout=timeout, context=context)
        return http.client.HTTPConnection(parts.hostname, port, timeout=timeout)

    def _request(
        self, connection: http.client.HTTPConnection, method: str, target: str, data: Any, accept: str = ""
    ) -> http.client.HTTPResponse:
        fields: dict[str, str] = {"Accept": accept or "application/json"}
        if self.place.token:
            fields["Authorization"] = f"Bearer {self.place.token}"
        body = data
        if data is not None and not isinstance(data, bytes):
            body = json.dumps(data).encode()
            fields["Content-Type"] = "application/json"
        elif data is not None:
            fields["Content-Type"] = "application/toml"
        connection.request(method, urlsplit(self.place.url).path.rstrip("/") + target, body, fields)
        response = connection.getresponse()
        if response.status >= 300:
            raise _failure(response.status, response.reason, response.read())
        return response

    def _unreachable(self, error: Exception) -> ApiFailure:
        if isinstance(error, FileNotFoundError):
            reason = "there is no such socket; does fastlb run, with admin.socket set?"
        elif isinstance(error, ConnectionRefusedError):
            reason = "nothing listens there; does fastlb run?"
        elif isinstance(error, PermissionError):
            reason = "permission denied; the socket is for its owner and group"
        elif isinstance(error, TimeoutError):
            reason = "no answer in time"
        else:
            reason = (error.strerror if isinstance(error, OSError) else "") or str(error) or type(error).__name__
        return ApiFailure(f"{self.place}: {reason}")


def _failure(status: int, phrase: str, body: bytes) -> ApiFailure:
    """The problem of an error answer (RFC 9457), or what there is of one."""
    try:
        problem = json.loads(body)
    except ValueError:
        problem = {}
    if not isinstance(problem, Mapping):
        problem = {}
    errors = [
        {str(key): str(value) for key, value in one.items()}
        for one in problem.get("errors", ())
        if isinstance(one, Mapping)
    ]
    return ApiFailure(str(problem.get("detail") or f"{status} {phrase}"), status, errors)


def server_path(backend: str, server: str) -> str:
    """The resource of a server."""
    return f"/v1/backends/{quote(backend, safe='')}/servers/{quote(server, safe='')}"
