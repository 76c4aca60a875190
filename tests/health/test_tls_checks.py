"""Checks over TLS: names, authorities, and servers that do not speak it."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from dataclasses import replace
from pathlib import Path

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fastlb.health.plan import plan_of
from fastlb.health.verdict import Verdict, Word
from fastlb.spec import Address, Backend, CheckTls, HealthCheck, Server

LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for site.test, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "site.test")])
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("site.test")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("certificate") / "site.pem"
    file.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return file


def check_by(check: HealthCheck, loop, certificate: Path | None, *, silent: bool = False) -> tuple[Verdict, list[str]]:
    """The verdict about a server with this certificate (None: it speaks no TLS), and the names it was asked for."""
    names: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if certificate is None and not silent:
                writer.write(b"no TLS here\r\n")
            await reader.readuntil(b"\r\n\r\n" if not silent else b"never")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
            await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()

    async def main() -> Verdict:
        running = asyncio.get_running_loop()
        context = None
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            context.sni_callback = lambda _, name, __: names.append(name or "")
        async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as listening:
            where = listening.sockets[0].getsockname()
            server = Server("one", Address(*where), resolved=((2, where),))
            result: asyncio.Future[Verdict] = running.create_future()
            plan_of(Backend("app", (server,)), server, check).begin(running, result.set_result)
            return await result

    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(main()), names


def settings(certificate: Path, **tls) -> HealthCheck:
    return HealthCheck(timeout=5.0, tls=CheckTls(ca=str(certificate), **tls))


@LOOPS
def test_by_name(loop, certificate: Path) -> None:
    check = settings(certificate, server_name="site.test")
    verdict, names = check_by(check, loop, certificate)
    assert (verdict.word, verdict.code, names) == (Word.L7OK, 200, ["site.test"])
    verdict, names = check_by(
        replace(check, host="site.test:443", tls=CheckTls(ca=str(certificate))), loop, certificate
    )
    assert (verdict.word, names) == (Word.L7OK, ["site.test"])
    verdict, _ = check_by(replace(check, body="hello"), loop, certificate)
    assert verdict.word is Word.L7OK
    verdict, _ = check_by(replace(check, type="tcp"), loop, certificate)
    assert verdict.word is Word.L6OK
    assert verdict.good


@LOOPS
def test_what_the_certificate_is_not_good_for(loop, certificate: Path) -> None:
    verdict, _ = check_by(settings(certificate, server_name="other.test"), loop, certificate)
    assert verdict.word is Word.L6RSP
    assert "certificate: " in verdict.info
    verdict, _ = check_by(settings(certificate), loop, certificate)  # for its address it is not
    assert verdict.word is Word.L6RSP
    verdict, _ = check_by(HealthCheck(tls=CheckTls(server_name="site.test")), loop, certificate)  # of no authority
    assert (verdict.word, "self-signed" in verdict.info or "self signed" in verdict.info) == (Word.L6RSP, True)
    verdict, _ = check_by(HealthCheck(tls=CheckTls(verify=False)), loop, certificate)
    assert verdict.word is Word.L7OK


@LOOPS
def test_servers_without_tls(loop, certificate: Path) -> None:
    check = settings(certificate, server_name="site.test")
    verdict, _ = check_by(check, loop, None)
    assert verdict.word is Word.L6RSP
    verdict, _ = check_by(replace(check, timeout=0.2), loop, None, silent=True)
    assert (verdict.word, verdict.info) == (Word.L6TOUT, "no TLS handshake within 0.2 s")


def test_an_unreadable_authority_says_nothing_about_the_server(tmp_path: Path) -> None:
    check = HealthCheck(tls=CheckTls(ca=str(tmp_path / "none.pem")))
    verdict, _ = check_by(check, asyncio.new_event_loop, None)
    assert (verdict.word, verdict.conclusive) == (Word.SOCKERR, False)
