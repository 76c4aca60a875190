"""Mode udp with other people's programs, over several workers, and over a reload."""

from __future__ import annotations

import asyncio
import datetime
import re
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

from aioquic.asyncio import connect, serve
from aioquic.quic.configuration import QuicConfiguration
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.helpers import Program, free_port, need, wait_until

from .balancer import Balancers, configuration, launch
from .datagrams import Echo, Peer
from .test_udp import backend, frontend
from .toml import dump


def test_dnsperf_loses_no_query(balancer: Balancers, start: Callable[..., Program], tmp_path: Path) -> None:
    dnsperf, dnsmasq = need("dnsperf"), need("dnsmasq", "dnsmasq-base")
    ports = [free_port() for _ in range(2)]
    for port in ports:
        start(
            [dnsmasq, "--no-daemon", f"--port={port}", "--listen-address=127.0.0.1", "--bind-interfaces", "--no-resolv",
             "--no-hosts", "--conf-file=/dev/null", "--address=/test/192.0.2.1", "--pid-file="]
        ).wait_port(("127.0.0.1", port))  # fmt: skip
    udp = balancer(
        frontends={"dns": frontend("dns", responses=1)},
        backends={"dns": backend(*({"address": f"127.0.0.1:{p}", "name": f"d{p}"} for p in ports))},
    )
    queries = tmp_path / "queries"
    queries.write_text("".join(f"host{n}.test A\n" for n in range(500)))
    command = [dnsperf, "-s", "127.0.0.1", "-p", str(udp.ports["dns"]), "-d", str(queries), "-n", "2", "-c", "4"]
    told = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    assert re.search(r"Queries completed: +1000 \(100\.00%\)", told), told
    assert re.search(r"NOERROR 1000", told), told


def test_syslog(balancer: Balancers) -> None:
    logger = need("logger", "bsdutils")
    with Peer() as one, Peer() as other:
        udp = balancer(
            frontends={"syslog": frontend("logs", flow="packet", responses=0)},
            backends={"logs": backend(one, other, balance="round_robin", health_check={"timeout": "100ms"})},
        )
        for n in range(4):
            subprocess.run(
                [logger, "--udp", "--server", "127.0.0.1", "--port", str(udp.ports["syslog"]), f"message {n}"],
                check=True, timeout=20,
            )  # fmt: skip
        found: list[bytes] = []
        for peer in (one, other):
            lines = []
            while len(lines) < 2:
                data = peer.get()
                lines += [data] if data else []  # the checks are empty datagrams
            found += [line[-9:] for line in lines]
        assert sorted(found) == [b"message %d" % n for n in range(4)]


def certificate(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - datetime.timedelta(1)).not_valid_after(now + datetime.timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False).sign(key, hashes.SHA256())
    )  # fmt: skip
    cert, private = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert, private


def test_quic_connections_keep_their_server(balancer: Balancers, tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)

    async def main() -> None:
        served: list[list[bytes]] = [[], []]
        ports = []
        servers = []

        def handler(who: int) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]:
            async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                data = await reader.read()
                served[who].append(data)
                writer.write(data)
                writer.write_eof()

            tasks = set()

            def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                tasks.add(asyncio.ensure_future(talk(reader, writer)))

            return begin

        for who in range(2):
            settings = QuicConfiguration(is_client=False)
            settings.load_cert_chain(cert, key)
            ports.append(free_port(kind=socket.SOCK_DGRAM))
            servers.append(await serve("127.0.0.1", ports[-1], configuration=settings, stream_handler=handler(who)))
        udp = await asyncio.to_thread(
            balancer,
            frontends={"quic": frontend("quic")},
            backends={"quic": backend(*({"address": f"127.0.0.1:{p}"} for p in ports), balance="round_robin")},
        )
        client = QuicConfiguration(is_client=True, server_name="localhost")
        client.load_verify_locations(str(cert))
        body = bytes(range(256)) * 400
        for n in range(2):
            async with connect("127.0.0.1", udp.ports["quic"], configuration=client) as connection:
                for _ in range(5):
                    reader, writer = await connection.create_stream()
                    writer.write(b"%d" % n + body)
                    writer.write_eof()
                    assert await reader.read() == b"%d" % n + body
        assert sorted({data[:1] for data in one} for one in served) == [{b"0"}, {b"1"}]
        for server in servers:
            server.close()

    asyncio.run(main())


def test_a_source_keeps_its_server_over_all_workers(balancer: Balancers) -> None:
    echoes = [Echo("a"), Echo("b")]
    udp = balancer(
        global_={"workers": 2},
        frontends={"source": frontend("pair", flow="source"), "tuple": frontend("pair")},
        backends={"pair": backend(*echoes, balance="round_robin")},
    )
    for name, different in (("source", 1), ("tuple", 2)):
        answers = set()
        for _ in range(16):
            with Peer(to=("127.0.0.1", udp.ports[name])) as client:
                answers.add(client.ask(b"x"))
        assert len(answers) == different
    for echo in echoes:
        echo.close()


def test_a_reload_keeps_flows(tmp_path: Path) -> None:
    with Peer() as one, Peer() as other:
        parts = {"frontends": {"udp": frontend("pool")}, "global_": {"workers": 1}}
        pool = {"outlier": False, "balance": "round_robin"}
        mapping = configuration((), backends={"pool": backend(one, **pool)}, **parts)
        udp = launch(mapping, tmp_path)
        try:
            with Peer(to=("127.0.0.1", udp.ports["udp"])) as client:
                client.send(b"1")
                _, flow = one.take()
                file = Path(udp.program.argv[-1])
                for servers, text in (((one, other), b"2"), ((one,), b"3")):
                    mapping["backends"] = {"pool": backend(*servers, **pool)}
                    file.write_text(dump(mapping))
                    seen = len(udp.program.lines)
                    udp.program.send(signal.SIGHUP)
                    udp.program.wait_line("reloaded|generation|configuration", start=seen)
                    one.tell(flow, b"answer " + text)
                    assert client.get() == b"answer " + text
                    client.send(text)
                    assert one.take() == (text, flow)
                # Its server left: the flow goes on with another.
                mapping["backends"] = {"pool": backend(other, **pool)}
                file.write_text(dump(mapping))
                udp.program.send(signal.SIGHUP)
                other.sock.settimeout(0.05)

                def moved() -> bool:
                    client.send(b"4")
                    try:
                        return other.get() == b"4"
                    except TimeoutError:
                        return False

                assert wait_until(moved)
        finally:
            assert udp.stop() == 0, udp.program.output
