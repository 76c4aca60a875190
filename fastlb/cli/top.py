"""`fastlb top`: the terminal."""

from __future__ import annotations

import contextlib
import curses
import locale
import os
import signal
import sys
from types import FrameType

import click

from .client import Client
from .place import STATUS_WRONG
from .top_data import Feed
from .top_view import Ui, draw

WAIT = 100  # ms for a key, then what has come is drawn
NAMES = {
    curses.KEY_DOWN: "down",
    curses.KEY_UP: "up",
    curses.KEY_NPAGE: "page down",
    curses.KEY_PPAGE: "page up",
    curses.KEY_HOME: "home",
    curses.KEY_END: "end",
    curses.KEY_BACKSPACE: "backspace",
    curses.KEY_ENTER: "enter",
}
CHARACTERS = {
    "\x1b": "escape",
    "\n": "enter",
    "\r": "enter",
    "\x7f": "backspace",
    "\b": "backspace",
    "\x03": "interrupt",
}


def run(client: Client, interval: float) -> int:
    """Shows and obeys keys until `q`; the exit status."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        click.echo("fastlb top needs a terminal; fastlb ctl show servers prints what there is", err=True)
        return STATUS_WRONG
    locale.setlocale(locale.LC_ALL, "")
    os.environ.setdefault("ESCDELAY", "25")  # ms after Esc; more makes it feel dead
    try:
        curses.setupterm()
    except curses.error as error:
        click.echo(f"this terminal is not known (TERM={os.environ.get('TERM', '')}): {error}", err=True)
        return STATUS_WRONG
    feed = Feed(client, interval)
    feed.start()

    def leave(number: int, frame: FrameType | None) -> None:
        sys.exit(128 + number)  # through curses.wrapper, which gives the terminal back

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            curses.wrapper(_loop, feed)
    finally:
        feed.stop()
    return 0


def _loop(screen: curses.window, feed: Feed) -> None:
    styles = _styles()
    blocks = locale.getpreferredencoding(False).upper().replace("-", "") == "UTF8"
    _hide_cursor()
    screen.timeout(WAIT)
    screen.keypad(True)
    ui = Ui()
    news = feed.news
    drawn: object = None
    while not ui.over:
        if not ui.paused:
            news = feed.news
        height, width = screen.getmaxyx()
        lines = draw(news, ui, width, height, blocks=blocks)
        if (lines, width, height) != drawn:
            _paint(screen, lines, width, height, styles)
            drawn = (lines, width, height)
        key = _key(screen)
        if key == "resize":
            curses.update_lines_cols()
            screen.clear()
            drawn = None
        elif key == " " and not ui.typing:
            feed.look()
        elif key:
            change = ui.key(key, page=max(1, height - 8))
            if change is not None:
                feed.change(change)


def _key(screen: curses.window) -> str:
    """The name of a key that was pressed; '' = none was."""
    try:
        got = screen.get_wch()
    except curses.error:
        return ""
    if isinstance(got, int):
        return "resize" if got == curses.KEY_RESIZE else NAMES.get(got, "")
    return CHARACTERS.get(got, got)


def _paint(
    screen: curses.window, lines: list[list[tuple[str, str]]], width: int, height: int, styles: dict[str, int]
) -> None:
    screen.erase()
    for y, line in enumerate(lines):
        x = 0
        for text, style in line:
            # the last cell of the screen is written, but then the cursor has no place to go to
            with contextlib.suppress(curses.error):
                screen.addstr(y, x, text, styles.get(style, 0))
            x += len(text)
    screen.refresh()


def _hide_cursor() -> None:
    with contextlib.suppress(curses.error):  # a terminal that cannot
        curses.curs_set(0)


def _styles() -> dict[str, int]:
    found = {
        "head": curses.A_REVERSE,
        "bold": curses.A_BOLD,
        "chosen": curses.A_BOLD,
        "dim": curses.A_DIM,
        "good": 0,
        "warn": curses.A_BOLD,
        "bad": curses.A_BOLD,
        "bar": 0,
    }
    if curses.has_colors():
        curses.start_color()
        curses.use_default_colors()
        pairs = {
            "good": curses.COLOR_GREEN,
            "warn": curses.COLOR_YELLOW,
            "bad": curses.COLOR_RED,
            "bar": curses.COLOR_CYAN,
        }
        for number, (style, colour) in enumerate(pairs.items(), 1):
            curses.init_pair(number, colour, -1)
            found[style] = curses.color_pair(number)
    return found
