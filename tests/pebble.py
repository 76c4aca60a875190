"""A real ACME server for tests: pebble of Let's Encrypt, with its name server, on loopback alone."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.certificates import Authority, pem
from tests.helpers import free_port, need, wait_until


@dataclass
class Pebble:
    """`directory` and `ca` are what a client needs; it looks for proofs on `http_port` and `tls_port`."""

    directory: str
    ca: Path
    http_port: int
    tls_port: int
    management: str
    process: subprocess.Popen[bytes]

    def root(self) -> bytes:
        """The certificate of the authority that signs (PEM)."""
        context = ssl.create_default_context(cafile=str(self.ca))
        with urllib.request.urlopen(f"{self.management}/roots/0", context=context, timeout=10) as answer:
            return bytes(answer.read())


def _answers(url: str, ca: Path) -> bool:
    try:
        with urllib.request.urlopen(url, context=ssl.create_default_context(cafile=str(ca)), timeout=2):
            return True
    except OSError:
        return False


@contextmanager
def pebble(folder: Path, *, bindings: Mapping[str, str] | None = None) -> Iterator[Pebble]:
    """All names are 127.0.0.1 to it. `bindings`: keys of external accounts by name, which are then required."""
    own = Authority("Pebble's own")
    ca = folder / "pebble-ca.pem"
    ca.write_bytes(pem(own.certificate))
    own.issue(folder / "pebble.pem", "localhost", "127.0.0.1", key_file=folder / "pebble.key")
    ports = {name: free_port() for name in ("directory", "management", "http", "tls", "dns", "test")}
    settings: dict[str, Any] = {
        "listenAddress": f"127.0.0.1:{ports['directory']}",
        "managementListenAddress": f"127.0.0.1:{ports['management']}",
        "certificate": str(folder / "pebble.pem"),
        "privateKey": str(folder / "pebble.key"),
        "httpPort": ports["http"],
        "tlsPort": ports["tls"],
        "ocspResponderURL": "",
        "externalAccountBindingRequired": bool(bindings),
    }
    if bindings:
        settings["externalAccountMACKeys"] = dict(bindings)
    (folder / "pebble.json").write_text(json.dumps({"pebble": settings}))
    dns = f"127.0.0.1:{ports['dns']}"
    # Nonces are refused now and then, as it does by itself; proofs are looked for without the usual pause.
    environment = {**os.environ, "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "15"}
    with (folder / "pebble.log").open("wb") as log:
        names = subprocess.Popen(
            [need("pebble-challtestsrv"), "-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-dns01", dns, "-http01", "",
             "-https01", "", "-tlsalpn01", "", "-management", f"127.0.0.1:{ports['test']}"],
            stdout=log, stderr=log,
        )  # fmt: skip
        server = subprocess.Popen(
            [need("pebble"), "-config", folder / "pebble.json", "-dnsserver", dns, "-strict"],
            stdout=log, stderr=log, env=environment, cwd=folder,
        )  # fmt: skip
        directory = f"https://127.0.0.1:{ports['directory']}/dir"
        try:
            wait_until(lambda: server.poll() is not None or _answers(directory, ca), what="pebble")
            assert server.poll() is None, (folder / "pebble.log").read_text()
            management = f"https://127.0.0.1:{ports['management']}"
            yield Pebble(directory, ca, ports["http"], ports["tls"], management, server)
        finally:
            for process in (server, names):
                process.terminate()
                process.wait(20)
