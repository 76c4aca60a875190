"""Chatters: WebSockets in rooms. A room lives in one server, so all of a room have to meet there."""

from __future__ import annotations

import time

import gevent
import websocket
from locust import User, task

from loadtests.journeys.base import generator
from loadtests.recorder import recorder

ROOMS = 12


class Chatter(User):
    """Enters a room, says something every now and then, and waits each time to hear it: that is the latency."""

    def __init__(self, environment: object) -> None:
        super().__init__(environment)
        self.random, self.name = generator(self)
        self._connection: websocket.WebSocket | None = None
        self._heard = 0

    def on_stop(self) -> None:
        if self._connection is not None:
            self._connection.close(timeout=1)

    def _enter(self) -> websocket.WebSocket:
        room = self.random.randrange(ROOMS)
        began = time.monotonic()
        url = f"{str(self.host).replace('http', 'ws', 1)}/chat/{room}"
        try:
            connection = websocket.create_connection(url, timeout=10)
        except Exception as error:
            self._report("enter", began, error)
            raise
        self._report("enter", began, None)
        return connection

    def _report(self, name: str, began: float, error: Exception | None) -> None:
        self.environment.events.request.fire(
            request_type="WS",
            name=name,
            response_time=(time.monotonic() - began) * 1e3,
            response_length=0,
            response=None,
            exception=error,
            context={},
        )

    @task
    def talk(self) -> None:
        try:
            if self._connection is None:
                self._connection = self._enter()
            gevent.sleep(self.random.uniform(0.2, 1.0))
            text = f"{self.name}:{self.random.getrandbits(48):x}"
            began = time.monotonic()
            self._connection.send(text)
            while True:  # what others said comes in between; the connection's timeout ends the wait
                if self._connection.recv() == text:
                    break
                recorder.mark("heard others")
            self._report("message", began, None)
            recorder.mark("message heard")
        except (OSError, websocket.WebSocketException) as error:
            if self._connection is not None:
                self._report("message", began, error)
                recorder.mark("message lost")
                self._connection.close(timeout=1)
                self._connection = None
            gevent.sleep(0.5)
