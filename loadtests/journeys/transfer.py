"""Those who move bytes: large downloads and uploads, and clients that trickle."""

from __future__ import annotations

import time

import gevent
from gevent import socket
from locust import task

from loadtests.journeys.base import Visitor

MB = 1024 * 1024
SIZES = (256 * 1024, MB, 4 * MB)


class Downloader(Visitor):
    """Fetches files of 256 KB to 4 MB, whole."""

    @task
    def fetch(self) -> None:
        size = self.random.choice(SIZES)
        with self.client.get(f"/download/{size}", name="download", catch_response=True) as answer:
            if answer.status_code == 200:
                complete = len(answer.content or b"") == size
                self.mark("download whole" if complete else "download cut")
                if not complete:
                    answer.failure("the body is not as long as it should be")
        self.think(0.3, 1.0)


class Uploader(Visitor):
    """Sends files of 256 KB to 4 MB; the server says how many bytes came."""

    @task
    def send(self) -> None:
        size = self.random.choice(SIZES)
        with self.client.post("/upload", data=b"u" * size, name="upload", catch_response=True) as answer:
            if answer.status_code == 200:
                complete = answer.text == str(size)
                self.mark("upload whole" if complete else "upload cut")
                if not complete:
                    answer.failure(f"{answer.text} of {size} bytes arrived")
        self.think(0.3, 1.0)


class SlowClient(Visitor):
    """Sends its request's head byte after byte and never ends it (slowloris); marks when it was shown the door.

    It measures no latency: what matters is that it is cut off, and that others do not notice it.
    """

    patience = 12.0

    @task
    def trickle(self) -> None:
        host, _, port = str(self.host).rpartition("//")[2].partition(":")
        began = time.monotonic()
        connection = socket.create_connection((host, int(port)), timeout=5)
        try:
            connection.settimeout(0.0)
            connection.sendall(b"GET / HTTP/1.1\r\nHost: slow.example\r\nX-Slow: ")
            while time.monotonic() - began < self.patience:
                gevent.sleep(0.25)
                connection.settimeout(0.01)
                try:
                    if connection.recv(4096) == b"" or True:  # an answer (408) or the end: either way it is over
                        self.mark("slow client cut off")
                        return
                except (TimeoutError, BlockingIOError):
                    pass
                connection.settimeout(1.0)
                connection.sendall(b"s")
            self.mark("slow client tolerated")
        except OSError:
            self.mark("slow client cut off")
        finally:
            connection.close()
