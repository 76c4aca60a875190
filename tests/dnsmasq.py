"""dnsmasq as the name server of tests: names and addresses that the test changes while it runs."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path

from tests.helpers import Program, free_port, need


class Dnsmasq(Program):
    """Answers for names below `.test`: those of `tell`, and SRV records that are given once and for all.

    `services`: (name, target, port, priority, weight) each. Names it was not told of do not exist.
    """

    def __init__(self, folder: Path, *, ttl: int = 0, services: Sequence[tuple[str, str, int, int, int]] = ()) -> None:
        program = need("dnsmasq", "dnsmasq-base")
        self._hosts = folder / "hosts"
        self._hosts.write_text("")
        self._told = 0
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        super().__init__(
            [program, "--no-daemon", f"--port={port}", "--listen-address=127.0.0.1", "--bind-interfaces", "--no-resolv",
             "--no-hosts", "--conf-file=/dev/null", "--pid-file=", "--local=/test/", f"--local-ttl={ttl}",
             "--user=root",  # which may read the folders of tests
             f"--addn-hosts={self._hosts}", *("--srv-host=" + ",".join(map(str, one)) for one in services)]
        )  # fmt: skip
        self.wait_port(("127.0.0.1", port))
        self._read_again()

    def tell(self, **names: Sequence[str]) -> None:
        """From now on `NAME.test` stands for these addresses, and no other name exists. Returns when that holds."""
        lines = [f"{address} {name}.test\n" for name, addresses in names.items() for address in addresses]
        self._hosts.write_text("".join(lines))
        self.process.send_signal(signal.SIGHUP)
        self._read_again()

    def _read_again(self) -> None:
        self.wait_line(r"read .*/hosts", start=self._told)
        self._told = len(self.lines)
