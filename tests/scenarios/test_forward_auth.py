"""A service is asked about each request: what it is told, what it decides, and what servers and clients learn of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.balancer import Balancer, Balancers
from tests.e2e.servers import Answering
from tests.e2e.wire import Message, Origin


def all_fields(request: Message) -> bytes:
    return "\n".join([request.start, *(f"{n}: {v}" for n, v in request.fields), request.body.decode()]).encode()


@pytest.fixture(scope="module")
def echo() -> Iterator[Answering]:
    server = Answering(all_fields)
    yield server
    server.stop()


class Service(Answering):
    """Decides by the path that is asked about; keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Message] = []
        super().__init__(self.decide)

    def decide(self, request: Message) -> bytes:
        self.asked.append(request)
        target = request.get("x-forwarded-uri") or ""
        answer = {
            "/login": b"HTTP/1.1 302 Found\r\nLocation: https://id.test/\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n"
            b"X-Secret: no\r\nContent-Length: 0\r\n\r\n",
            "/no": b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3\r\nno \r\n6\r\nentry.\r\n0\r\n\r\n",
            "/big": b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Negotiate\r\nContent-Length: 5000\r\n\r\n"
            + b"x" * 5000,
            "/broken": b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n",
            "/unchanged": b"HTTP/1.1 304 Not Modified\r\n\r\n",
        }
        return answer.get(target.partition("?")[0]) or (
            b"HTTP/1.1 200 OK\r\nRemote-User: ann\r\nRemote-Groups: a\r\nRemote-Groups: b\r\nX-Secret: yes\r\n"
            b"Set-Cookie: seen=1\r\nContent-Length: 2\r\n\r\nok"
        )


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    one = Service()
    yield one
    one.stop()


@pytest.fixture(scope="module")
def portal(shared_balancer: Balancers, echo: Answering, service: Service, server: Origin) -> Balancer:
    rules = {"backend": "login", "path": "/verify?v=1", "headers": ["Remote-User", "Remote-Groups"]}
    rules |= {"response_headers": "Set-Cookie", "user_header": "Remote-User", "max_body": "4KB"}
    return shared_balancer(
        echo.address,
        frontend={
            "auth": "sso",
            "forwarded": {"trust": "127.0.0.9"},
            "routes": [
                {"path": "/late", "backend": "app", "auth": "late"},
                {"path": "/patient", "backend": "app", "auth": "patient"},
                {"path": "/gone", "backend": "app", "auth": "gone"},
                {"path": "/lax", "backend": "app", "auth": "lax"},
                {"path": "/few", "backend": "app", "auth": "few"},
            ],
        },
        auth={
            "sso": {"forward": rules},
            "late": {"forward": {"backend": "silent", "timeout": "300ms"}},
            "patient": {"forward": {"backend": "silent", "timeout": "60s"}},
            "gone": {"forward": {"backend": "nobody"}},
            "lax": {"forward": {"backend": "nobody", "on_error": "allow", "headers": "Remote-User"}},
            "few": {"forward": {"backend": "login", "send": ["Cookie"]}},
        },
        backends={
            "login": {"servers": service.address},
            "silent": {"servers": server.address},
            "nobody": {"servers": "127.0.0.1:1", "retries": 0, "outlier": False},
        },
        log={"format": "json"},
    )


def test_the_service_learns_who_asks_for_what_and_gets_no_body(portal: Balancer, service: Service) -> None:
    service.asked.clear()
    with portal.dial() as client:
        lines = ["Cookie: a=b", "X-Forwarded-Uri: /no", "X-Original-URL: evil", "X_Forwarded_Method: evil"]
        lines += ["X_Forwarded_For: 9.9.9.9", "x_real-ip: 9.9.9.9", "X_Request_ID: 9", "X_Forwarded_Proto: https"]
        lines += ["X-Forwarded_Host: evil", "X_Forwarded_Port: 1", "X_Forwarded_Client_Cert: evil"]
        lines += ["Content_Length: 9", "Transfer_Encoding: chunked", "Proxy: evil"]
        lines += ["X-Forwarded-For: 9.9.9.9", "If-None-Match: *", "Range: bytes=0-1", "X-Mine: 1"]
        client.post("/some/path?q=1", b"a body", *lines)
        answer = client.response()
    (asked,) = service.asked
    port = portal.ports["web"]
    assert asked.start == "GET /verify?v=1 HTTP/1.1" and asked.body == b""
    assert asked.get("content-length") is None and asked.get("transfer-encoding") is None
    expected = {
        "host": "x", "cookie": "a=b", "x-mine": "1", "x-forwarded-for": "127.0.0.1", "x-real-ip": "127.0.0.1",
        "x-forwarded-proto": "http", "x-forwarded-host": "x", "x-forwarded-port": str(port),
        "x-forwarded-method": "POST", "x-original-method": "POST", "x-forwarded-uri": "/some/path?q=1",
        "x-original-uri": "/some/path?q=1", "x-original-url": "http://x/some/path?q=1",
        "if-none-match": None, "range": None, "x_forwarded_method": None,
    }  # fmt: skip
    assert {name: asked.get(name) for name in expected} == expected
    assert [name for name, _ in asked.fields if "_" in name] == []
    assert answer.status == 200 and answer.text.endswith("\na body")


def test_a_trusted_proxy_is_believed(portal: Balancer, service: Service) -> None:
    from tests.e2e.wire import dial

    service.asked.clear()
    with dial(portal.address, source="127.0.0.9") as client:
        client.get("/", "X-Forwarded-For: 1.2.3.4", "X-Forwarded-Proto: https", "X-Forwarded-Host: real.test")
        assert client.response().status == 200
    (asked,) = service.asked
    assert asked.get("x-forwarded-for") == "1.2.3.4, 127.0.0.9"
    assert (asked.get("x-forwarded-proto"), asked.get("x-forwarded-host")) == ("https", "real.test")


def test_what_it_says_goes_on_and_what_the_client_says_does_not(portal: Balancer) -> None:
    with portal.dial() as client:
        answer = client.get("/in", "Remote-User: root", "remote_user: root", "Remote-Groups: root").response()
    lines = answer.text.split("\n")
    assert [x for x in lines if x.lower().startswith("remote")] == [
        "remote-user: ann", "remote-groups: a", "remote-groups: b",
    ]  # fmt: skip
    assert not any("secret" in x.lower() for x in lines)
    assert answer.all("set-cookie") == ["seen=1"]
    assert '"user":"ann"' in portal.program.wait_line('"target":"/in"').string


def test_a_refusal_is_the_services_own(portal: Balancer) -> None:
    with portal.dial() as client:
        answer = client.get("/login").response()
        assert (answer.status, answer.get("location")) == (302, "https://id.test/")
        assert answer.all("set-cookie") == ["a=1", "b=2"] and answer.get("x-secret") is None
        answer = client.get("/no").response()
        assert (answer.status, answer.text, answer.get("content-type")) == (403, "no entry.", "text/plain")
        head = client.get("/no", method="HEAD").response("HEAD")
        assert (head.status, head.get("content-length")) == (403, "9")
        answer = client.get("/big").response()  # longer than what is passed on: a page of ours
        assert (answer.status, answer.get("www-authenticate")) == (401, "Negotiate")
        assert b"xxxx" not in answer.body
        assert client.get("/in").response().status == 200  # and the connection goes on


@pytest.mark.parametrize("target", ["/broken", "/unchanged", "/gone"])
def test_no_verdict_is_no_entry(portal: Balancer, target: str) -> None:
    with portal.dial() as client:
        assert client.get(target).response().status == 503
        assert client.get("/in").response().status == 200


def test_unless_it_is_told_to_let_through(portal: Balancer) -> None:
    with portal.dial() as client:
        answer = client.get("/lax", "Remote-User: root").response()
        assert answer.status == 200 and "remote-user" not in answer.text


def test_who_does_not_answer_in_time(portal: Balancer, server: Origin) -> None:
    with portal.dial() as client:
        client.get("/late")
        held = server.request()[0]
        assert client.response().status == 503
        assert held.ended() in ("fin", "reset")  # nobody waits for the answer any more


def test_a_client_that_leaves_is_forgotten(portal: Balancer, server: Origin) -> None:
    client = portal.dial()
    # An end before the first event of a connection is taken for that of its request
    client.get("/gone").response()
    client.get("/patient?left")
    held = server.request()[0]
    client.close()
    assert held.ended() in ("fin", "reset")
    portal.program.wait_line('"target":"/patient\\?left".*"termination":"CR')


def test_headers_that_are_sent_can_be_chosen(portal: Balancer, service: Service) -> None:
    service.asked.clear()
    with portal.dial() as client:
        assert client.get("/few", "Cookie: a=b", "X-Mine: 1", "Authorization: Basic eDp5").response().status == 200
    (asked,) = service.asked
    assert (asked.get("cookie"), asked.get("x-mine"), asked.get("authorization")) == ("a=b", None, None)
