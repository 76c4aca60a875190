"""Chromium without a window, steered by the DevTools protocol: pages, clicks, keys, colours, screenshots."""

from __future__ import annotations

import base64
import contextlib
import json
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from websockets.sync.client import connect

from tests.helpers import SLOWNESS, need, wait_until

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--disable-default-apps",
    "--hide-scrollbars", "--remote-debugging-port=0",
)  # fmt: skip


class Browser:
    """One page. What the page complained about is in `complaints`, what it asked for in `requests`."""

    def __init__(self, folder: Path, *flags: str) -> None:
        program = need("chromium")
        self._folder = folder
        self._process = subprocess.Popen(
            [program, *FLAGS, *flags, f"--user-data-dir={folder / 'profile'}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._stack = contextlib.ExitStack()
        self._number = 0
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.responses: dict[str, dict[str, Any]] = {}  # by URL, the last one
        try:
            port_file = folder / "profile" / "DevToolsActivePort"
            wait_until(lambda: port_file.exists() and len(port_file.read_text().split()) == 2, 60, "chromium")
            port, path = port_file.read_text().split()
            connection = connect(f"ws://127.0.0.1:{port}{path}", max_size=None, open_timeout=30 * SLOWNESS)
            self._socket = self._stack.enter_context(connection)
            self._session = ""
            target = self.call("Target.createTarget", url="about:blank")["targetId"]
            self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Network", "Log"):
                self.call(f"{domain}.enable")
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise

    def call(self, method: str, **parameters: Any) -> Any:
        """One command; events that come in between are noted."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._socket.send(json.dumps(message))
        deadline = time.monotonic() + 60 * SLOWNESS
        while True:
            got = json.loads(self._socket.recv(timeout=max(0.1, deadline - time.monotonic())))
            if got.get("id") == self._number:
                assert "error" not in got, (method, got["error"])
                return got["result"]
            self._note(got)

    def _note(self, event: dict[str, Any]) -> None:
        method, parameters = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            details = parameters["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Log.entryAdded":
            entry = parameters["entry"]
            if entry["level"] == "error":
                self.complaints.append(f"{entry['text']} {entry.get('url', '')}")
        elif method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif method == "Network.responseReceived":
            self.responses[parameters["response"]["url"]] = parameters["response"]

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression; a promise is awaited."""
        got = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True, userGesture=True)
        assert "exceptionDetails" not in got, got["exceptionDetails"]
        return got["result"].get("value")

    def open(self, url: str) -> None:
        """Loads a page; returns when it has been read to its end."""
        self.call("Page.navigate", url=url)
        self.wait(f"location.href === {json.dumps(url)} && document.readyState === 'complete'")

    def wait(self, condition: str, timeout: float = 20.0) -> Any:
        """Waits until a JavaScript expression is true; its value."""
        return wait_until(lambda: self.run(condition), timeout, condition)

    def click(self, selector: str) -> None:
        """A click of the mouse in the middle of an element, as a person does it: goes there, looks, presses once."""
        where = json.dumps(selector)
        place = (
            f"(() => {{ const e = document.querySelector({where}); e.scrollIntoView({{block: 'center'}});"
            "const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2] })()"
        )
        for _ in range(50):
            x, y = self.run(place)
            self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
            if self.run(f"document.querySelector({where}).contains(document.elementFromPoint({x}, {y}))"):
                break
        else:
            raise AssertionError(f"{selector} is never where it was a moment ago, or something lies over it")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def type(self, text: str) -> None:
        """Into what has the focus."""
        self.call("Input.insertText", text=text)

    def key(self, key: str) -> None:
        code = {"Enter": 13, "Tab": 9, "Escape": 27, " ": 32}[key]
        typed = {"Enter": "\r", " ": " "}.get(key, "")
        for kind in ("keyDown", "keyUp"):
            more = {"text": typed} if typed and kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **more)

    def window(self, width: int, height: int = 900) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def scheme(self, name: str) -> None:
        """light or dark."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]))

    def close(self) -> None:
        try:
            self._session = ""
            self.call("Browser.close")
            self._stack.close()
            self._process.wait(20 * SLOWNESS)
        finally:
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
