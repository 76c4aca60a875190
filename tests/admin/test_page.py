"""The stats page: what stands in it without JavaScript, and what it does in a real browser."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlb.admin import figures as f
from fastlb.control import counters as c
from fastlb.control.region import UP
from tests.admin.browser import Browser
from tests.admin.conftest import TOKEN, Origins, Start
from tests.admin.inside import Inside, inside, make_backend, make_spec
from tests.helpers import free_port, wait_until

VOID = {"meta", "link", "input", "br", "rect", "path"}


class Document(HTMLParser):
    """Reads a page strictly: every element is closed, in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.captions: list[str] = []
        self.links: list[str] = []
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), (tag, attrs)
        self.attributes.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag == "a":
            self.links.append(dict(attrs)["href"] or "")
        elif tag == "caption":
            self.captions.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, tag
        assert self.open.pop() == tag, (tag, self.open)

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("style", "script"):
            return
        self.text += data
        if "caption" in self.open:
            self.captions[-1] += data
        elif "td" in self.open or "th" in self.open:
            self.tables[-1][-1][-1] += " " + data.strip()


async def page(lb: Inside, target: str = "/stats", **guard: Any) -> Document:
    status, _, body = await lb.ask(target, **guard)
    assert status == 200
    return Document(body.decode())


def test_everything_is_readable_without_javascript() -> None:
    async def main() -> None:
        async with inside(make_spec(make_backend("app", 2), make_backend("other", 1))) as lb:
            region = lb.service.region
            for kind, index in (("frontend", 0), ("group", 0), ("server", lb.server("app", "s0"))):
                region.count(0, kind, index, c.REQUESTS, 1234)
                region.count(0, kind, index, c.STATUS_2XX, 1200)
                region.count(0, kind, index, c.STATUS_5XX, 34)
                region.record(0, kind, index, c.TIME_TOTAL, 250_000, 1234)
            region.change_state(lb.server("app", "s1"), clear=UP)
            lb.service.book.note("app", lb.service.spec.backends[0].servers[1], "the <cable> & the plug")
            lb.sampler.sample()
            found = await page(lb)
            assert found.captions == ["Frontends", "Servers of app", "Servers of other"]
            frontends, app, other = found.tables
            assert "1,234" in frontends[1][5]
            assert [row[0].split()[0] for row in app] == ["Server", "s0", "s1", "All"]
            assert all(len(row) == len(app[0]) for row in app)
            assert all(len(row) == len(frontends[0]) for row in frontends)
            assert "5xx 34" in app[1][5]
            assert "Down" in app[2][1]
            assert "the <cable> & the plug" in app[2][1]
            assert "Up" in other[1][1]
            assert "1 up, 1 down" in found.text
            assert "app/s1 UP → DOWN: the <cable> & the plug" in " ".join(found.text.split())
            roles = {a.get("role") for tag, a in found.attributes}
            assert {"table", "rowgroup", "row", "cell", "columnheader", "rowheader"} <= roles

    asyncio.run(main())


def test_nothing_comes_from_elsewhere_and_only_its_own_script_runs() -> None:
    async def main() -> None:
        async with inside(make_spec(make_backend("app", 2))) as lb:
            _, fields, body = await lb.ask("/stats")
            text = body.decode()
            policy = fields["content-security-policy"]
            for tag, directive in (("style", "style-src"), ("script", "script-src")):
                (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
                digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
                assert f"{directive} 'sha256-{digest}'" in policy
            assert policy.startswith("default-src 'none';")
            assert "unsafe" not in policy
            found = Document(text)
            for tag, attributes in found.attributes:
                assert not {name for name in attributes if name.startswith("on") or name == "style"}, (tag, attributes)
                for name in ("src", "href", "action"):
                    value = attributes.get(name) or ""
                    assert value.startswith(("/", "#", "data:")) or not value, (tag, value)
                    assert not value.startswith("//")
            assert fields["x-frame-options"] == "DENY"

    asyncio.run(main())


@pytest.mark.parametrize("evil", ["<script>alert(1)</script>", '" onmouseover="x', "</td><b>", "&lt;", "'"])
def test_what_others_wrote_is_text(evil: str) -> None:
    async def main() -> None:
        async with inside(make_spec(make_backend("app", 1))) as lb:
            lb.service.region.change_state(0, clear=UP)
            lb.service.book.note("app", lb.service.spec.backends[0].servers[0], evil)
            for target in ("/stats", "/stats?backend=app&server=s0"):
                _, _, body = await lb.ask(target)
                assert evil in Document(body.decode()).text
            asked = Document((await lb.ask("/stats?q=" + quote(evil)))[2].decode())
            assert {"search": evil.lower()}.items() <= {
                a.get("type"): a.get("value") for t, a in asked.attributes
            }.items()
            assert "No server fits" in asked.text

    asyncio.run(main())


def test_finding_and_paging() -> None:
    async def main() -> None:
        async with inside(make_spec(make_backend("app", 450), make_backend("other", 2))) as lb:
            lb.service.region.change_state(lb.server("app", "s333"), clear=UP)
            lb.service.book.sweep()
            found = await page(lb)
            rows = [row[0].split()[0] for row in found.tables[1]]
            assert rows[:3] == ["Server", "s333", "s0"]  # what is not well first
            assert len(rows) == 102
            assert "100 of 450 servers" in found.text

            every = set()
            for number in (1, 2, 3, 9):
                found = await page(lb, f"/stats?backend=app&page={number}")
                (table,) = found.tables
                every |= {row[0].split()[0] for row in table[1:-1]}
            assert len(every) == 450
            assert "/stats?backend=app&page=2" in found.links

            down = (await page(lb, "/stats?state=DOWN")).tables
            assert [[row[0].split()[0] for row in table] for table in down] == [["Server", "s333", "All"]]
            some = (await page(lb, "/stats?q=S12")).tables[0]
            assert [row[0].split()[0] for row in some[1:-1]] == ["s12", *(f"s12{n}" for n in range(10))]
            by_address = (await page(lb, "/stats?q=10.0.1.3%20&backend=app")).tables[0]
            assert "10.0.1.3:80" in by_address[1][0]
            assert (await lb.ask("/stats?backend=nope"))[0] == 404
            assert (await lb.ask("/stats?backend=app&server=nope"))[0] == 404
            # of many servers only those are sampled that somebody looks at
            assert lb.sampler.every_server

    asyncio.run(main())


def test_the_page_of_one_server() -> None:
    async def main() -> None:
        async with inside(make_spec(make_backend("app", 2))) as lb:
            lb.service.region.record(0, "server", 0, c.TIME_RESPONSE, 12_000, 3)
            lb.service.region.count(0, "server", 0, c.RESPONSE_US, 36_000)
            lb.sampler.sample()
            found = await page(lb, "/stats?backend=app&server=s0")
            (table,) = found.tables
            assert [cell.split()[:1] for cell in table[3]][:2] == [["Response"], ["12"]]
            text = " ".join(found.text.split())
            for word in (
                "app/s0",
                "Requests/s",
                "Idle connections",
                "Broken off by the server",
                "not checked",
                "2 of 2",
            ):
                assert word in text

    asyncio.run(main())


def test_buttons_are_there_for_who_may_press_them() -> None:
    async def main() -> None:
        async with inside(make_spec(make_backend("app", 2))) as lb:
            for guard, number in (
                ({"trusted": True}, 6),
                ({"trusted": False, "token": TOKEN}, 6),
                ({"trusted": False}, 0),
            ):
                found = await page(lb, "/stats", **guard)
                states = [a for tag, a in found.attributes if tag == "button" and "data-state" in a]
                assert len(states) == number
                assert len({len(row) for row in found.tables[1]}) == 1
            assert "read only" in found.text

    asyncio.run(main())


@given(
    st.lists(st.floats(0, 1e12, allow_nan=False), max_size=130),
    st.booleans(),
    st.booleans(),
)
def test_sparklines_stay_in_their_box(values: list[float], gaps: bool, wide: bool) -> None:
    picture = f.spark(values, "rate", 'a "label"', gaps=gaps, wide=wide)
    Document(picture)
    width, height = (480, 96) if wide else (f.SPARK_WIDTH, f.SPARK_HEIGHT)
    for path in re.findall(r' d="([^"]*)"', picture):
        numbers = [float(n) for n in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", path) for n in n]
        assert all(-0.1 <= x <= width + 4.1 for x in numbers[::2])
        assert all(0 <= y <= height for y in numbers[1::2])


@pytest.mark.parametrize(
    ("got", "expected"),
    [
        (f.count(0), "0"), (f.count(9_999_999), "9,999,999"), (f.count(12_345_678), "12.3 M"), (f.count(5e12), "5.0 T"),
        (f.rate(0), "0"), (f.rate(0.01), "< 0.1"), (f.rate(3.14), "3.1"), (f.rate(12.7), "13"), (f.rate(1234), "1,234"),
        (f.size(0), "0 B"), (f.size(1023), "1.0 KB"), (f.size(1536), "1.5 KB"), (f.size(2**40 * 2000), "2000 TB"),
        (f.duration(0), "–"), (f.duration(0.000_25), "250 µs"), (f.duration(0.0012), "1.2 ms"),
        (f.duration(0.034), "34 ms"), (f.duration(0.9994), "999 ms"), (f.duration(1.5), "1.5 s"),
        (f.duration(120), "120 s"), (f.age(0), "0 s"), (f.age(59.9), "59 s"), (f.age(60), "1 min"),
        (f.age(3600), "1 h"), (f.age(3_700), "1 h 1 min"), (f.age(90_000), "1 d 1 h"), (f.age(-5), "0 s"),
    ],
)  # fmt: skip
def test_figures(got: str, expected: str) -> None:
    assert got == expected


def test_thinning_loses_no_peak() -> None:
    values = [float(n % 7) for n in range(119)] + [99.0]
    thin = f.thinned(values)
    assert (len(thin), thin[-1], max(thin)) == (60, 99.0, 99.0)
    assert f.thinned([1.0, 2.0]) == [1.0, 2.0]


# ---- in a real browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as found:
        yield found


@pytest.fixture
def tab(browser: Browser) -> Browser:
    """The browser, with nothing remembered."""
    browser.open("about:blank")
    browser.complaints.clear()
    browser.requests.clear()
    browser.window(1400)
    browser.scheme("light")
    return browser


S1 = '.switch[data-name="app/s1"]'
STATE = f"document.querySelector('{S1}').closest('tr').querySelector('.pill').textContent.slice(1)"


@pytest.mark.timeout(240)
def test_buttons_in_a_browser(fastlb: Start, origins: Origins, tab: Browser) -> None:
    lb = fastlb(*origins.servers, workers=1)
    tab.open(f"{lb.api.url}/stats")
    tab.run("sessionStorage.clear()")

    # asked for the token, a wrong one is asked for again
    tab.click(f"{S1} [data-state=drain]")
    tab.wait("document.querySelector('dialog').open")
    assert tab.run("document.activeElement.type") == "password"
    tab.type("wrong-token-of-mine")
    tab.key("Enter")
    tab.wait(
        "document.querySelector('dialog').open && /not right/.test(document.querySelector('dialog p').textContent)"
    )
    assert lb.api.get("/v1/backends/app/servers/s1")["state"] == "UP"
    tab.type(TOKEN)
    tab.click("dialog .go")
    tab.wait(f"{STATE} === 'Drain'")
    server = lb.api.get("/v1/backends/app/servers/s1")
    assert (server["state"], server["reason"]) == ("DRAIN", "set to drain by the operator: stats page")
    assert tab.run(f"document.querySelector('{S1} [data-state=drain]').getAttribute('aria-pressed')") == "true"
    assert "app/s1 is set to drain" in tab.run("document.getElementById('notice').textContent")

    # kept for this tab, over a reload of the page; in the storage of the session alone
    tab.open(f"{lb.api.url}/stats")
    assert tab.run("[sessionStorage.length, localStorage.length, document.cookie]") == [1, 0, ""]
    tab.click(f"{S1} [data-state=maint]")
    tab.wait(f"{STATE} === 'Maint'")
    assert not tab.run("document.querySelector('dialog').open")

    # the last server in use: the page asks, and Cancel cancels
    s2 = '.switch[data-name="app/s2"]'
    tab.click(f"{s2} [data-state=drain]")
    tab.wait("document.querySelector('dialog').open")
    assert "503" in tab.run("document.querySelector('dialog p').textContent")
    tab.click("dialog [type=button]")
    tab.wait("!document.querySelector('dialog').open")
    tab.click(f"{s2} [data-state=drain]")
    tab.wait("document.querySelector('dialog').open")
    tab.key("Escape")
    tab.wait("!document.querySelector('dialog').open")
    assert lb.api.get("/v1/backends/app/servers/s2")["state"] == "UP"
    tab.click(f"{s2} [data-state=drain]")
    tab.wait("document.querySelector('dialog').open")
    tab.click("dialog .go")
    wait_until(lambda: lb.api.get("/v1/backends/app/servers/s2")["state"] == "DRAIN", what="s2 drained")
    assert lb.request() == 503

    # and back, by keyboard, on the page of the server
    tab.open(f"{lb.api.url}/stats?backend=app&server=s1")
    tab.run(f"document.querySelector('{S1} [data-state=ready]').focus()")
    tab.key(" ")
    wait_until(lambda: lb.api.get("/v1/backends/app/servers/s1")["state"] == "UP", what="s1 ready")
    assert lb.request() == 200

    tab.click("#forget")
    assert tab.run("sessionStorage.length") == 0
    # 401 is what the page was told to expect; nothing else was wrong, and nothing came from elsewhere
    assert [x for x in tab.complaints if "401" not in x] == []
    assert {url.split("/")[2] for url in tab.requests if url.startswith("http")} == {lb.api.url.split("/")[2]}


@pytest.mark.timeout(240)
def test_no_click_is_lost_or_goes_elsewhere(fastlb: Start, origins: Origins, tab: Browser) -> None:
    """The page looks again without a pause while rows come and go above: one click does one thing, to its server."""
    below = {"zzz": {"servers": [{"name": f"z{n}", "address": f"127.0.0.1:{free_port()}"} for n in (1, 2)]}}
    lb = fastlb(*origins.servers, workers=0, backends=below, admin={"token": TOKEN})
    tab.open(f"{lb.api.url}/stats")
    tab.run(f"sessionStorage.setItem('fastlb.token', '{TOKEN}')")
    tab.run(
        "window.again = new MutationObserver(() => document.dispatchEvent(new Event('visibilitychange')));"
        "window.again.observe(document.documentElement, { attributeFilter: ['data-refreshed'] });"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    tab.run("window.row = document.querySelector('[data-name=\"zzz/z2\"]').closest('tr')")
    over = threading.Event()

    def rows_above() -> None:
        while not over.is_set():
            new = {"address": f"127.0.0.1:{free_port()}", "name": "new"}
            assert lb.unix.ask("/v1/backends/app/servers", "POST", new).status == 201
            assert lb.unix.ask("/v1/backends/app/servers/new", "DELETE").status == 200

    thread = threading.Thread(target=rows_above)
    thread.start()
    try:
        for state, shown in (("drain", "DRAIN"), ("maint", "MAINT"), ("ready", "UP")) * 3:
            tab.click(f'.switch[data-name="zzz/z2"] [data-state={state}]')
            tab.wait(
                f"document.querySelector('.switch[data-name=\"zzz/z2\"] [data-state={state}]').ariaPressed === 'true'"
            )
            states = {one["name"]: one["state"] for one in lb.unix.get("/v1/servers")["servers"]}
            assert states["z2"] == shown
            assert {states[name] for name in ("s1", "s2", "z1")} == {"UP"}
    finally:
        over.set()
        thread.join()
    # its row has been the same element all the time
    assert tab.run("window.row === document.querySelector('[data-name=\"zzz/z2\"]').closest('tr')")

    # questions one after the other: the end of one is never taken for that of the next
    assert lb.unix.patch("zzz/z1", state="drain").status == 200
    tab.run("window.again.disconnect()")
    for _ in range(3):
        tab.wait(
            "(z2 => z2.dataset.last && z2.querySelector('[data-state=ready]').ariaPressed === 'true')"
            "(document.querySelector('.switch[data-name=\"zzz/z2\"]'))"
        )
        tab.run(
            "for (const way of ['cancel', 'escape']) {"
            " document.querySelector('.switch[data-name=\"zzz/z2\"] [data-state=drain]').click();"
            " const ask = document.getElementById('ask');"
            " if (way === 'cancel') ask.querySelector('button[type=button]').click();"
            " else ask.dispatchEvent(new Event('cancel', { cancelable: true })); }"
            " document.querySelector('.switch[data-name=\"zzz/z2\"] [data-state=drain]').click()"
        )
        tab.wait("document.querySelector('dialog').open")
        tab.click("dialog .go")
        wait_until(lambda: lb.unix.get("/v1/backends/zzz/servers/z2")["state"] == "DRAIN", what="z2 drained")
        # the page has to have shown it: else what stands there at the next turn may still be what stood there before
        tab.wait("document.querySelector('.switch[data-name=\"zzz/z2\"] [data-state=drain]').ariaPressed === 'true'")
        assert lb.unix.patch("zzz/z2", state="ready").status == 200
    assert tab.complaints == []


@pytest.mark.timeout(240)
def test_it_is_live(fastlb: Start, origins: Origins, tab: Browser) -> None:
    lb = fastlb(*origins.servers, workers=1)
    tab.open(f"{lb.api.url}/stats")
    requests = "document.querySelector('[data-label=Requests] b').textContent"
    assert tab.run(requests) == "0"
    tab.run("window.marked = document.querySelector('[data-label=Requests]')")
    tab.run(f"document.querySelector('{S1} [data-state=drain]').focus()")
    for _ in range(5):
        assert lb.request() == 200
    tab.wait(f"{requests} === '5'")
    # the same elements with other contents: focus and selection stay
    assert tab.run("window.marked === document.querySelector('[data-label=Requests]')")
    assert tab.run("document.activeElement.dataset.state") == "drain"

    tab.click("#live")
    assert tab.run("[document.getElementById('live').textContent, document.getElementById('live').ariaPressed]") == [
        "Paused", "false",
    ]  # fmt: skip
    stamp = tab.run("document.documentElement.dataset.refreshed")
    assert lb.request() == 200
    tab.run("new Promise((done) => setTimeout(done, 2600))")  # longer than the pause between two looks
    assert tab.run("document.documentElement.dataset.refreshed") == stamp
    tab.click("#live")
    tab.wait(f"{requests} === '6'")

    lb.program.send(signal.SIGQUIT)
    lb.program.wait(20)
    tab.wait("/No answer since/.test(document.getElementById('notice').textContent)")
    assert tab.run(requests) == "6"  # what was known stays readable
    assert tab.run("document.documentElement.classList.contains('stale')")


# Contrast of every text with what lies behind it (WCAG 2.2, 1.4.3), computed from the colours that the browser uses.
CONTRAST = """
(() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgba = (text) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => {
    const part = (v) => ((v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  };
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const color = rgba(getComputedStyle(e).backgroundColor);
      if (color[3] === 255) return color;
    }
    return [255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
    if (element.closest('caption, .skip, style, script')) continue;
    const a = light(rgba(getComputedStyle(element).color)), b = light(behind(element));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) found.push(`${walker.currentNode.data} in ${element.outerHTML}: ${ratio.toFixed(2)}`);
  }
  return [...new Set(found)];
})()
"""


@pytest.mark.timeout(240)
def test_colours_widths_and_the_tree_of_assistive_technology(fastlb: Start, origins: Origins, tab: Browser) -> None:
    lb = fastlb(
        *origins.servers,
        {"name": "gone", "address": f"127.0.0.1:{free_port()}"},
        {"name": "spare-with-a-rather-long-name", "address": f"127.0.0.1:{free_port()}", "backup": True},
        backend={"health_check": {"type": "tcp", "interval": "100ms"}, "max_connections": 10},
    )
    wait_until(lambda: lb.api.get("/v1/backends/app")["servers"]["DOWN"] == 2, what="servers that are not there")
    assert lb.unix.patch("app/s1", state="drain").status == lb.unix.patch("app/gone", state="maint").status == 200
    for target in ("/", "/status/404", "/status/500", "/"):
        lb.request(target)
    shots = os.environ.get("FASTLB_SCREENSHOTS")
    for target, name in (("/stats", "all"), ("/stats?backend=app&server=s1", "one")):
        tab.window(1400)
        tab.open(f"{lb.api.url}{target}")
        for scheme in ("light", "dark"):
            tab.scheme(scheme)
            for width in (1400, 900, 400):
                tab.window(width)
                assert tab.run("document.documentElement.scrollWidth") <= width, (name, width)
                assert tab.run(CONTRAST) == [], (name, scheme, width)
                if shots:
                    tab.screenshot(Path(shots) / f"{name}-{scheme}-{width}.png")

    # as cards, on a narrow screen, the tables are tables still
    tab.window(400)
    tab.open(f"{lb.api.url}/stats")
    nodes = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in tab.call("Accessibility.getFullAXTree")["nodes"]
        if not node["ignored"]
    ]
    roles = [role for role, _ in nodes]
    assert ("table", "Servers of app") in nodes
    assert roles.count("table") == 2
    assert roles.count("row") >= 1 + 5  # heads are not shown there
    assert {"rowheader", "cell", "heading", "search", "status"} <= set(roles)
    named = {name for role, name in nodes if role == "button"}
    assert {"Drain app/s1", "Maint app/s2", "Ready app/gone", "Live", "Find"} <= named
    assert all(name for role, name in nodes if role in ("button", "link", "image", "textbox", "searchbox", "combobox"))
    assert any(name.startswith("Requests per second over two minutes") for role, name in nodes if role == "image")
    assert tab.complaints == []


def test_the_page_takes_little_of_the_supervisor() -> None:
    """A thousand servers on one page: the rest of the program gets its turns meanwhile."""

    async def main() -> None:
        async with inside(make_spec(*(make_backend(f"b{n}", 100) for n in range(10)))) as lb:
            lb.sampler.sample()
            longest = 0.0

            async def others() -> None:
                nonlocal longest
                last = time.process_time()
                while True:
                    await asyncio.sleep(0)
                    now = time.process_time()
                    longest, last = max(longest, now - last), now

            other = asyncio.create_task(others())
            _, _, body = await lb.ask("/stats")
            other.cancel()
            print(f"{len(body):,} bytes, longest turn {longest:.3f} s")
            assert body.count(b"<tr ") >= 1000

    asyncio.run(main())
