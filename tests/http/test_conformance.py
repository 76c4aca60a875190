"""The published cases of other projects, judged by an independent strict reader and by llhttp.

The cases are not part of this project: they are looked for in $FASTLB_CONFORMANCE and beside the checkout. Differences
from the reader's verdict stand below, each with its reason.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.helpers import ROOT
from tests.http.llhttp import check_chunked
from tests.http.stream import read_requests, read_responses
from tests.http.test_differential import request, response

PLACES = [
    os.environ.get("FASTLB_CONFORMANCE", ""),
    str(ROOT / "../shared/conformance"),
    str(ROOT / "../../shared/conformance"),
]
FOLDER = next((Path(p).resolve() for p in PLACES if p and (Path(p) / "h1ref.py").is_file()), None)

# clean by the reference reader, refused here
STRICTER = {
    "gunicorn:invalid/rfc9110_trailer_forbidden_cl_01": "trailers that decide about framing are refused",
    "gunicorn:invalid/rfc9110_trailer_forbidden_host_01": "trailers that decide about routing are refused",
    "gunicorn:invalid/rfc9110_trailer_forbidden_te_01": "trailers that decide about framing are refused",
}
# malformed by the reference reader, accepted here
LAXER = {
    "llhttp:response/sample#8": "the space before an absent reason phrase; the line is written anew",
}
BENIGN = {"leading-crlf"}


def reference() -> ModuleType:
    assert FOLDER is not None
    spec = importlib.util.spec_from_file_location("h1ref", FOLDER / "h1ref.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cases(kind: str) -> list[Any]:
    if FOLDER is None:
        reason = "the conformance cases are not here; set FASTLB_CONFORMANCE to their folder"
        return [pytest.param(None, marks=pytest.mark.skip(reason=reason), id="absent")]
    found = []
    for path in sorted((FOLDER / "cases").glob(f"*-{kind}.json")):
        found += [pytest.param(case, id=case["id"]) for case in json.loads(path.read_text())["cases"]]
    assert len(found) > 50
    return found


def violations(messages: list[Any], end: str) -> set[str]:
    found = set().union(*(m.viol for m in messages)) if messages else set()
    return (found | {end[6:]} if end.startswith("fatal:") else found) - BENIGN


@pytest.mark.parametrize("case", cases("request"))
def test_request(case: dict[str, Any]) -> None:
    raw = case["raw"].encode("latin-1")
    theirs, end = reference().parse_requests(raw)
    ours = read_requests(raw)
    if end == "incomplete" and ours.end == "refused":
        # what the reader waits for cannot be sound any more: it says so itself once the line ends
        theirs, end = reference().parse_requests(raw + b"\r\n\r\n")
    faults = violations(theirs, end)
    request(raw)
    if case["id"] in STRICTER:
        assert ours.end == "refused"
        return
    if faults:
        assert ours.end == "refused", (faults, ours)
        # nothing of the faulty message was taken; a broken body is found once its head was read
        sound = list(itertools.takewhile(lambda m: not m.viol - BENIGN, theirs))
        assert [m.start for m in ours.messages if m.complete] == [m.method for m in sound if m.complete]
        return
    assert ours.end == {"incomplete": "more", "mustclose": "close"}.get(end, end), ours
    heads = [m for m in theirs if m.framing is not None]
    assert len(ours.messages) == len(heads)
    for a, b in zip(ours.messages, heads, strict=True):
        version = b"HTTP/%d.%d" % a.version
        assert (a.start, a.target, version, a.headers) == (b.method, b.target, b.version, b.fields)
        assert (a.body, a.complete) == (b.body, b.complete)
        if a.framing == "chunked":
            check_chunked(raw[raw.index(b"\r\n\r\n") + 4 :])


@pytest.mark.parametrize("case", cases("response"))
def test_response(case: dict[str, Any]) -> None:
    raw = case["raw"].encode("latin-1")
    theirs, end = reference().parse_responses(raw, [b"GET"], True)
    response(raw)
    ours = read_responses(raw, b"GET", True)
    # what stands behind the one answer that was asked for is not the parser's business
    answer = next((i for i, m in enumerate(theirs) if m.complete and (m.status >= 200 or m.status == 101)), None)
    if answer is not None:
        theirs, end = theirs[: answer + 1], "end"
    elif end == "incomplete" and ours.end == "refused":
        theirs, end = reference().parse_responses(raw + b"\r\n\r\n", [b"GET"], True)
    faults = violations(theirs, end)
    if case["id"] in LAXER:
        assert faults
        assert ours.end != "refused"
        return
    if faults:
        assert ours.end == "refused", (faults, ours)
        return
    assert ours.end != "refused" or theirs[-1].status == 101, ours
    if answer is None:
        assert ours.end == "more"
        return
    if ours.end != "refused":
        for a, b in zip(ours.messages, theirs, strict=True):
            assert (a.start, a.headers, a.complete) == (b"%d" % b.status, b.fields, b.complete)
            assert a.body == b.body


def test_differences_are_still_there() -> None:
    if FOLDER is None:
        pytest.skip("the conformance cases are not here; set FASTLB_CONFORMANCE to their folder")
    ids = {p.id for kind in ("request", "response") for p in cases(kind)}
    assert set(STRICTER) | set(LAXER) <= ids
