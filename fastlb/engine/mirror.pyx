"""Copies of requests for a second backend.

A copy is made when its request is whole, and sent after the batch in which that was: the real one has gone out by then,
and nothing of the copy's fate comes back to it. What costs memory is bounded: copies at a time, bytes of a body. When
both answers are over they are compared by status, chosen fields, and length and sum of the body.
"""

import time

from collections import deque

from libc.string cimport memcpy
from fastlb._core.bits cimport mix64
from fastlb._core.xxh3 cimport xxh3_64
from fastlb.engine.buffer cimport chunk_free, chunk_grow, chunk_new
from fastlb.engine.extras cimport Extras
from fastlb.engine.error_log cimport LEVEL_INFO
from fastlb.engine.step cimport STEP_PASS
from fastlb.http.chunked cimport CHUNK_DATA, CHUNK_ERROR, chunked_next, chunked_reset
from fastlb.http.fields cimport FRAMING_LENGTH, Field

COUNTS = ("sent", "busy", "too_large", "unfit", "failed", "same", "differing", "incomparable", "by_status",
          "by_headers", "by_body")

cdef enum:
    SHOWN = 512                 # bytes of a value or a target that an example keeps


cdef class Seen:
    """What is kept of one answer."""

    cdef void head(self, const ResponseHead* h, const char* buf, bint chunked, list names) noexcept:
        cdef const Field* f
        cdef uint32_t i
        cdef bytes name
        self.status = h.status
        self.chunked = chunked
        chunked_reset(&self.decoder)
        self.values = []
        for name in names:
            found = None
            for i in range(h.nfields):
                f = &h.fields[i]
                if f.name_len == <size_t>len(name) and (buf + f.name)[:f.name_len].lower() == name:
                    value = (buf + f.value)[:f.value_len]
                    found = value if found is None else found + b", " + value
            self.values.append(found)

    cdef void body(self, const char* p, size_t n) noexcept:
        cdef const char* data = NULL
        cdef size_t used = 0, size = 0
        cdef int got
        if not self.chunked:
            self._sum(p, n)
            return
        while n and not self.broken:
            used = 0
            got = chunked_next(&self.decoder, p, n, &used, &data, &size)
            p += used
            n -= used
            if got == CHUNK_DATA:
                self._sum(data, size)
            else:
                self.broken = got == CHUNK_ERROR
                return

    cdef void _sum(self, const char* p, size_t n) noexcept:
        """In blocks of one size, however the bytes came."""
        cdef size_t take
        self.length += n
        if self.length > self.most:
            return
        while n:
            take = SUM_BLOCK - self.fill
            if take > n:
                take = n
            memcpy(self.block + self.fill, p, take)
            self.fill += <uint32_t>take
            p += take
            n -= take
            if self.fill == SUM_BLOCK:
                self.state = mix64(self.state ^ xxh3_64(self.block, SUM_BLOCK))
                self.fill = 0

    cdef uint64_t digest(self) noexcept:
        return mix64(self.state ^ xxh3_64(self.block, self.fill))


cdef class MirrorStep(Step):
    """core, front: of the worker, an internal frontend; action: towards the second backend; rules: a Mirror of the
    spec; frontend, route: whose requests these are."""

    def __init__(self, Core core not None, Frontend front not None, Action action not None, rules, str frontend,
                 str route):
        self.core = core
        self.front = front
        self.action = action
        self.frontend, self.route, self.backend = frontend, route, rules.backend
        self.share = <uint64_t>-1 if rules.percent >= 1 else <uint64_t>(max(rules.percent, 0.0) * 2.0 ** 64)
        self.most = rules.max_concurrent
        self.max_body = rules.max_body
        self.timeout_ms = <uint32_t>(rules.timeout * 1000)
        self.compares = rules.compare
        self.compares_body = rules.compare_body
        self.sum_most = rules.compare_max
        self.logs = rules.log
        self.names = [name.lower().encode() for name in rules.compare_headers]
        self.examples = deque(maxlen=rules.examples)
        self.running = set()

    def report(self):
        """Counts of this worker and the last examples of differing answers, oldest first."""
        counts = (self.sent, self.busy, self.too_large, self.unfit, self.failed, self.same, self.differing,
                  self.incomparable, self.by_status, self.by_headers, self.by_body)
        return {"frontend": self.frontend, "route": self.route, "backend": self.backend,
                "counts": dict(zip(COUNTS, counts, strict=True)), "running": len(self.running),
                "examples": list(self.examples)}

    def go_on_from(self, MirrorStep before not None):
        """Takes over what was counted before a reload."""
        self.sent, self.busy, self.too_large, self.unfit = before.sent, before.busy, before.too_large, before.unfit
        self.failed, self.same, self.differing = before.failed, before.same, before.differing
        self.incomparable = before.incomparable
        self.by_status, self.by_headers, self.by_body = before.by_status, before.by_headers, before.by_body
        self.examples.extend(before.examples)

    def close(self):
        """Ends the copies that are under way."""
        cdef MirrorRequest one
        for one in list(self.running):
            one.abort()
            one.pair.copy = None        # each holds the other
            one.pair = None
        self.running.clear()

    cdef int ask(self, PyObject* exchange) noexcept:
        cdef Exchange e = <Exchange>exchange
        cdef MirrorPair pair
        cdef size_t size = <size_t>e.head_len + e.body_len
        e.core.seed += 0x9e3779b97f4a7c15ULL
        if self.share != <uint64_t>-1 and mix64(e.core.seed) >= self.share:
            return STEP_PASS
        if e.upgrade or (e.extras is not None and e.extras.observer is not None):
            self.unfit += 1
            return STEP_PASS
        if len(self.running) >= self.most:
            self.busy += 1
            return STEP_PASS
        if e.body_len > self.max_body or (
                e.framing == FRAMING_LENGTH and e.core.request.content_length > self.max_body):
            self.too_large += 1
            return STEP_PASS
        pair = MirrorPair.__new__(MirrorPair)
        pair.saved = chunk_new(size)
        if pair.saved == NULL:
            return STEP_PASS
        memcpy(pair.saved.data, e.saved.data, size)
        pair.saved.end = <uint32_t>size
        pair.step = self
        pair.head_len = e.head_len
        pair.real = Seen.__new__(Seen)
        pair.mirrored = Seen.__new__(Seen)
        pair.real.most = pair.mirrored.most = self.sum_most
        pair.line = (e.saved.data + e.line.off)[:e.line.len if e.line.len < SHOWN else SHOWN]
        pair.client = e.client_text[:e.client_len].decode("ascii", "replace")
        pair.copy = MirrorRequest.__new__(MirrorRequest)
        pair.copy.core = self.core
        pair.copy.pair = pair
        pair.copy.speak_for(e)
        if e.extras is not None and e.extras.request != NULL:
            # The copy has the same lines: who the request is from, for one.
            pair.copy.lines = Extras.__new__(Extras)
            pair.copy.lines.add_lines(e.extras.request.data, e.extras.request.end)
        self.running.add(pair.copy)
        e.extra().observer = pair
        if e.request_done:
            self.core.reactor.defer(pair.copy)
        return STEP_PASS

    cdef void _compare(self, MirrorPair pair) noexcept:
        cdef Seen a = pair.real
        cdef Seen b = pair.mirrored
        cdef bint body
        if not b.whole:
            self.failed += 1
        if not self.compares:
            return
        if not a.whole or not b.whole or a.status == 0 or a.broken or b.broken:
            self.incomparable += 1
            return
        status = a.status != b.status
        headers = [(name, one, other) for name, one, other in zip(self.names, a.values, b.values) if one != other]
        body = self.compares_body and (a.length != b.length or (a.length <= a.most and a.digest() != b.digest()))
        if not status and not headers and not body:
            self.same += 1
            return
        self.differing += 1
        self.by_status += status
        self.by_headers += bool(headers)
        self.by_body += body
        what = [word for word, there in (("status", status), ("headers", headers), ("body", body)) if there]
        line = pair.line.decode("utf-8", "backslashreplace")
        self.examples.append({
            "at": time.time(), "line": line, "client": pair.client, "server": pair.server, "what": what,
            "headers": [{"name": name.decode(), "real": shown(one), "mirror": shown(other)}
                        for name, one, other in headers],
            "real": facts(a), "mirror": facts(b),
        })
        if self.logs and self.core.errors is not None:
            self._log(what, line, a, b)

    def _log(self, what, line, Seen a, Seen b):
        text = (f"mirror {self.backend} differs from {self.frontend} in {', '.join(what)}: {a.status} and {b.status}, "
                f"{a.length} and {b.length} bytes, {line!r}")
        raw = text.encode("ascii", "backslashreplace")
        self.core.errors.log_text(LEVEL_INFO, raw, <uint32_t>len(raw))


cdef object shown(bytes value):
    return None if value is None else value[:SHOWN].decode("utf-8", "backslashreplace")


cdef dict facts(Seen seen):
    return {"status": seen.status, "length": seen.length, "ms": seen.took_us / 1000,
            "hash": f"{seen.digest():016x}" if seen.length <= seen.most else None}


cdef class MirrorPair(Observer):
    """Both sides of one comparison."""

    def __dealloc__(self):
        chunk_free(self.saved)

    cdef void request_body(self, const char* p, size_t n, bint whole) noexcept:
        cdef Chunk* c
        cdef size_t size
        if self.copy is None or self.saved == NULL:
            return
        size = <size_t>self.saved.end + n
        if size - self.head_len > self.step.max_body:
            self.step.too_large += 1
            self._drop()
            return
        if n:
            c = self.saved if self.saved.cap >= size else chunk_grow(self.saved, size)
            if c == NULL:
                self._drop()
                return
            memcpy(c.data + c.end, p, n)
            c.end = <uint32_t>size
            self.saved = c
        if whole:
            self.step.core.reactor.defer(self.copy)

    cdef void _drop(self) noexcept:
        """No copy is made after all."""
        self.step.running.discard(self.copy)
        self.copy = None
        chunk_free(self.saved)
        self.saved = NULL

    cdef void answer_head(self, const ResponseHead* h, const char* buf, bint chunked) noexcept:
        if self.step.compares:
            self.real.head(h, buf, chunked, self.step.names)

    cdef void answer_body(self, const char* p, size_t n) noexcept:
        if self.step.compares:
            self.real.body(p, n)

    cdef void over(self, PyObject* exchange) noexcept:
        cdef Exchange e = <Exchange>exchange
        self.real_over = True
        self.real.whole = e.term[0] == c'-'
        self.real.took_us = e.core.reactor.now_us - e.head_us
        if e.server is not None:
            self.server = e.server.name.decode()
        if self.saved != NULL and not e.request_done:
            # It ended before its request did: there never was a whole one.
            self.step.unfit += 1
            self._drop()
        elif self.mirror_over:
            self._over()

    cdef void _over(self) noexcept:
        self.step._compare(self)


cdef class MirrorRequest(InnerRequest):
    """One copy."""

    cdef void on_deferred(self) noexcept:
        cdef MirrorPair pair = self.pair
        cdef Chunk* saved
        if pair is None or pair.saved == NULL or self not in pair.step.running:
            return
        saved = pair.saved
        pair.saved = NULL
        pair.step.sent += 1
        pair.mirrored.took_us = self.core.reactor.now_us
        self.start(self.core, pair.step.action, pair.step.front, saved, pair.head_len, pair.step.timeout_ms)

    cdef void answer_head(self, const ResponseHead* h, const char* buf) noexcept:
        if self.pair.step.compares:
            self.pair.mirrored.head(h, buf, self.chunked, self.pair.step.names)

    cdef bint answer_body(self, const char* p, size_t n) noexcept:
        if self.pair.step.compares:
            self.pair.mirrored.body(p, n)
        return True

    cdef void finished(self, int status) noexcept:
        cdef MirrorPair pair = self.pair
        self.pair = None
        pair.copy = None
        pair.step.running.discard(self)
        pair.mirrored.whole = self.succeeded
        pair.mirrored.took_us = self.core.reactor.now_us - pair.mirrored.took_us
        pair.mirror_over = True
        if pair.real_over:
            pair._over()
