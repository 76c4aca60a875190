"""Asks a running fastlb over its admin socket or URL."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import ssl
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

DEFAULT_SOCKET = "/run/fastlb.sock"
WRONG = 422  # the status of failures that are the fault of who asks
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


@dataclass(frozen=True, slots=True)
class Wanted:
    """Where somebody says the admin interface is; '' = not said."""

    file: str = ""
    socket: str = ""
    url: str = ""
    token: str = ""
    token_file: str = ""

    def or_else(self, other: Wanted) -> Wanted:
        """What `other` says where this one says nothing. The three ways to say the place are one."""
        place = self if self.file or self.socket or self.url else other
        secret = self if self.token or self.token_file else other
        return Wanted(place.file, place.socket, place.url, secret.token, secret.token_file)


def from_environment() -> Wanted:
    """FASTLB_URL or FASTLB_SOCKET or FASTLB_CONFIG, the first that is set; FASTLB_TOKEN or FASTLB_TOKEN_FILE."""
    url, path, file = (os.environ.get(name, "") for name in ("FASTLB_URL", "FASTLB_SOCKET", "FASTLB_CONFIG"))
    token = os.environ.get("FASTLB_TOKEN", "")
    return Wanted(
        url=url,
        socket="" if url else path,
        file="" if url or path else file,
        token=token,
        token_file="" if token else os.environ.get("FASTLB_TOKEN_FILE", ""),
    )


def find_place(wanted: Wanted, hint: str = "") -> Place:
    """The admin interface that is meant. Raises ApiFailure.

    Where nothing is said: that of the file `hint` if it has one, else the usual socket.
    """
    wanted = wanted.or_else(from_environment())
    token = wanted.token or (_read_token(wanted.token_file) if wanted.token_file else "")
    if wanted.file:
        place = _of_file(wanted.file)
        return replace(place, token=token or place.token)
    if wanted.url:
        url = wanted.url if "://" in wanted.url else f"http://{wanted.url}"
        return Place(url=url.rstrip("/"), token=token)
    if hint and not wanted.socket:
        with contextlib.suppress(ApiFailure):
            place = _of_file(hint)
            return replace(place, token=token or place.token)
    return Place(socket=wanted.socket or DEFAULT_SOCKET, token=token)


def _of_file(file: str) -> Place:
    """What [admin] of a configuration says. The rest of the file need not be right: it may be about to be repaired."""
    try:
        admin = tomllib.loads(Path(file).read_text("utf-8")).get("admin", {})
    except OSError as error:
        raise ApiFailure(f"{file}: {error.strerror}", WRONG) from error
    except ValueError as error:
        raise ApiFailure(f"{file}: {error}; give --socket or --url instead", WRONG) from error
    if not isinstance(admin, dict):
        admin = {}
    path, listen, token = (str(admin.get(key) or "") for key in ("socket", "listen", "token"))
    if path:
        return Place(socket=path)
    if not listen:
        raise ApiFailure(f"{file}: has no admin.socket and no admin.listen, so nothing can be asked", WRONG)
    if listen.startswith("unix:"):
        return Place(socket=listen.removeprefix("unix:"))
    host, _, port = listen.rpartition(":")
    host = {"": "127.0.0.1", "*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)
    if token.startswith("env:"):
        token = os.environ.get(token[4:], "")
    elif token.startswith("file:"):
        try:
            token = _read_token(token[5:])
        except ApiFailure:
            token = ""  # reading goes without, and the rest is refused with a reason
    return Place(url=f"http://{host}:{port}", token=token)


def _read_token(file: str) -> str:
    try:
        return Path(file).read_text("ascii").strip()
    except OSError as error:
        raise ApiFailure(f"{file}: {error.strerror}", WRONG) from error
    except UnicodeDecodeError as error:
        raise ApiFailure(f"{file}: not ASCII text", WRONG) from error


class Client:
    """One place. Connections live for one request each."""

    def __init__(self, place: Place, timeout: float = TIMEOUT) -> None:
        self.place = place
        self.timeout = timeout

    def get(self, path: str, **query: object) -> Any:
        """JSON of a 200. Raises ApiFailure."""
        wanted = {key: value for key, value in query.items() if value is not None}
        return self.ask("GET", f"{path}?{urlencode(wanted)}" if wanted else path)

    def ask(self, method: str, target: str, data: Any = None) -> Any:
        """JSON of a good answer; `data` is sent as JSON, bytes as they are. Raises ApiFailure."""
        connection = self._connect(self.timeout)
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
