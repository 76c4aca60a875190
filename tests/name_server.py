"""A small DNS server for tests: addresses by name, with a TTL, that the test changes while it runs."""

from __future__ import annotations

import socket
import threading
from types import TracebackType
from typing import Self

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset


class NameServer:
    """`records["app.test"] = ["127.0.0.1", "::1"]`; others do not exist; None = no answer at all."""

    def __init__(self, ttl: int = 0) -> None:
        self.ttl = ttl
        self.records: dict[str, list[str] | None] = {}
        self.asked = 0
        self._grown = threading.Condition()
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._sock.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def wait_asked(self, more: int = 4, timeout: float = 20.0) -> None:
        """Returns when so many further questions were answered."""
        with self._grown:
            goal = self.asked + more
            assert self._grown.wait_for(lambda: self.asked >= goal, timeout), "nobody asks"

    def _serve(self) -> None:
        while True:
            data, who = self._sock.recvfrom(4096)
            if not data:
                return
            answer = self._answer(dns.message.from_wire(data))
            if answer is not None:
                self._sock.sendto(answer.to_wire(), who)
            with self._grown:
                self.asked += 1
                self._grown.notify_all()

    def _answer(self, query: dns.message.Message) -> dns.message.Message | None:
        question = query.question[0]
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.AA
        found = self.records.get(str(question.name).rstrip("."), [])
        if found is None:
            return None
        if not found:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        kind = dns.rdatatype.to_text(question.rdtype)
        addresses = [a for a in found if (":" in a) == (kind == "AAAA")]
        if addresses:
            answer.answer.append(dns.rrset.from_text(question.name, self.ttl, "IN", kind, *addresses))
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"", self._sock.getsockname())
        self._thread.join()
        self._sock.close()
