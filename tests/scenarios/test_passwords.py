"""Names and passwords: who knows one comes in, servers learn who it is, and guessing is slow."""

from __future__ import annotations

import base64
import signal
from pathlib import Path

import pytest

from tests.e2e.balancer import Balancer, Balancers, configuration, launch
from tests.e2e.servers import Answering
from tests.e2e.wire import Message, dial
from tests.helpers import wait_until
from tests.tokens import basic

# htpasswd -nbB -C 5, htpasswd -nb, htpasswd -nbs, mkpasswd -m sha-512 -R 1000: all of "secret"
USERS = {
    "bcrypt": "$2y$05$bmpId45KmxInY7Oy8jKJVOeUpD6SPF7dO542czytPckzXas.P..3i",
    "apr": "$apr1$saltsalt$LrttParrLPdxvgutaSXWJ0",
    "sha": "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
    "six": "$6$rounds=1000$saltsalt$LAV5VE5Y7w1d73x1mFNspYWUpazfmwv2Soep"
    "NXNKJ/otop/Zok96Hr8Q13LEv0DRY/x8v0/crpIjl8NJSAqXV/",
}


def seen(request: Message) -> bytes:
    """What of the request concerns us, as the answer."""
    named = ("authorization", "x-user", "x_user")
    return "\n".join(f"{name}: {value}" for name, value in request.fields if name in named).encode()


@pytest.fixture(scope="module")
def echo() -> Answering:
    server = Answering(seen)
    yield server  # type: ignore[misc]
    server.stop()


@pytest.fixture(scope="module")
def door(shared_balancer: Balancers, echo: Answering, tmp_path_factory: pytest.TempPathFactory) -> Balancer:
    """Everything needs a password but /public; /open keeps Authorization; /guess closes after three failures."""
    file = tmp_path_factory.mktemp("passwords") / "staff"
    file.write_text("# staff\n" + "".join(f"{name}:{stored}\n" for name, stored in USERS.items()))
    return shared_balancer(
        echo.address,
        frontend={
            "auth": "staff",
            "routes": [
                {"path": "/public", "backend": "app", "auth": "none"},
                {"path": "/open", "backend": "app", "auth": "plain"},
                {"path": "/guess", "respond": {"body": "in"}, "auth": "guess"},
            ],
        },
        auth={
            "staff": {"basic": {"file": str(file), "user_header": "X-User", "strip": True, "failures": 0}},
            "plain": {"basic": {"file": str(file), "realm": 'the "open" one', "failures": 0}},
            "guess": {"basic": {"users": [f"bcrypt:{USERS['bcrypt']}"], "failures": 3, "window": "1h"}},
        },
    )


def test_who_brings_nothing_is_asked(door: Balancer) -> None:
    with door.dial() as client:
        answer = client.get("/").response()
        assert (answer.status, answer.get("www-authenticate")) == (401, 'Basic realm="Restricted", charset="UTF-8"')
        assert client.get("/open").response().get("www-authenticate") == (
            'Basic realm="the \\"open\\" one", charset="UTF-8"'
        )
        assert client.get("/public").response().status == 200


@pytest.mark.parametrize("name", USERS)
def test_who_knows_the_password_comes_in_and_is_told_to_the_server(door: Balancer, name: str) -> None:
    with door.dial() as client:
        for _ in range(2):  # verified, then remembered
            answer = client.get(f"/{name}", basic(name, "secret"), "X-User: root", "X_User: root").response()
            assert (answer.status, answer.text) == (200, f"x-user: {name}")
        assert client.get("/open", basic(name, "secret")).response().text.startswith("authorization: Basic ")
        assert client.get("/", basic(name, "wrong")).response().status == 401


def test_what_the_client_says_of_itself_never_arrives(door: Balancer) -> None:
    with door.dial() as client:
        assert client.get("/", "X-User: root").response().status == 401
        answer = client.get("/open", basic("apr", "secret"), "X-User: mine").response()
        assert "x-user: mine" in answer.text  # there nobody tells servers a name, and it means nothing


@pytest.mark.parametrize(
    "line",
    [
        "Authorization: Basic",
        "Authorization: Basic ",
        "Authorization: Basic !!!!",
        "Authorization: Basic " + base64.b64encode(b"no colon").decode(),
        "Authorization: Basic " + base64.b64encode(b"apr:secret\0and more").decode(),
        "Authorization: Basic " + base64.b64encode(b"\xff\xfe:\x80").decode(),
        "Authorization: Basic " + base64.b64encode(b"apr\r\nX-User: root:secret").decode(),
        "Authorization: Basic " + base64.b64encode(b"nobody:secret").decode(),
        "Authorization: Basic " + "A" * 8000,
        "Authorization: Bearer " + base64.b64encode(b"apr:secret").decode(),
        "Authorization: Basicapr:secret",
    ],
)
def test_garbage_is_refused(door: Balancer, line: str) -> None:
    with door.dial() as client:
        assert client.get("/", line).response().status == 401
        assert client.get("/public").response().status == 200  # and the connection goes on


def test_two_opinions_are_none(door: Balancer) -> None:
    right = basic("apr", "secret")
    with door.dial() as client:
        assert client.get("/", right, right).response().status == 401
        assert client.get("/", "authorization: BASIC " + right.rpartition(" ")[2]).response().status == 200


def test_requests_with_a_body_and_pipelined_ones_wait_for_their_turn(door: Balancer) -> None:
    with door.dial() as client:
        client.post("/body", b"x" * 1000, basic("bcrypt", "secret"))
        client.get("/next", basic("bcrypt", "wrong")).get("/last", basic("bcrypt", "secret"))
        assert [client.response().status for _ in range(3)] == [200, 401, 200]


def test_guessing_is_closed_for_the_address_and_for_nobody_else(door: Balancer) -> None:
    with dial(door.address, source="127.0.0.7") as known:
        assert known.get("/guess", basic("bcrypt", "secret")).response().status == 200
    with dial(door.address, source="127.0.0.8") as thief:
        for n in range(3):
            assert thief.get("/guess", basic("bcrypt", f"guess {n}")).response().status == 401
        answer = thief.get("/guess", basic("bcrypt", "guess 4")).response()
        assert answer.status == 429 and int(answer.get("retry-after") or 0) > 3000
        assert thief.get("/guess", basic("bcrypt", "guess 1")).response().status == 429
        # Who was verified before is known without a hash.
        assert thief.get("/guess", basic("bcrypt", "secret")).response().status == 200
    with dial(door.address, source="127.0.0.9") as other:
        assert other.get("/guess", basic("bcrypt", "new guess")).response().status == 401


def test_the_log_names_the_user(tmp_path: Path, echo: Answering) -> None:
    parts = {"auth": {"a": {"basic": {"users": [f"apr:{USERS['apr']}"]}}}, "log": {"format": "json"}}
    lb = launch(configuration((echo.address,), frontend={"auth": "a"}, **parts), tmp_path)
    try:
        with lb.dial() as client:
            assert client.get("/mine", basic("apr", "secret")).response().status == 200
            assert client.get("/theirs", basic("apr", "wrong")).response().status == 401
        assert '"user":"apr"' in lb.program.wait_line('"target":"/mine"').string
        assert '"user"' not in lb.program.wait_line('"target":"/theirs"').string
    finally:
        assert lb.stop() == 0


def test_a_changed_file_counts_after_a_reload(tmp_path: Path, echo: Answering) -> None:
    file = tmp_path / "users"
    file.write_text(f"apr:{USERS['apr']}\n")
    parts = {"auth": {"a": {"basic": {"file": str(file)}}}, "global_": {"workers": 1}}
    lb = launch(configuration((echo.address,), frontend={"auth": "a"}, **parts), tmp_path)
    try:
        with lb.dial() as client:
            assert client.get("/", basic("apr", "secret")).response().status == 200
            file.write_text(f"sha:{USERS['sha']}\n")
            lb.program.send(signal.SIGHUP)

            def changed() -> bool:
                return client.get("/", basic("sha", "secret")).response().status == 200

            wait_until(changed, what="the new user to come in")
            assert client.get("/", basic("apr", "secret")).response().status == 401
    finally:
        assert lb.stop() == 0
