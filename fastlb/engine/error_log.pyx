"""The error log: one line for every refused or failed exchange, limited to ten a second and reason.

    2009-02-06T12:14:14.655Z warning fastlb[14389] worker=1 frontend=web backend=api server=srv1
    client=10.0.1.2:33317 status=503 reason="connection refused"                  (one line)

What goes over the limit is counted and summed up once its second has passed (reason="connection refused" more=1234).
The reason is the key of the limit, so the engine's reasons are fixed texts. Lines take the same way to their target
as the access log's.
"""

import os

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, strlen

from fastlb._core.net cimport clock_gettime, timespec
from fastlb.engine.log_format cimport (
    FormatState,
    caps_for,
    format_failure,
    format_init,
    line_bound,
)
from fastlb.engine.log_record cimport LogRecord, RecordHolder
from fastlb.engine.log_ring cimport (
    LogWriter,
    Ring,
    ring_commit,
    ring_dropped,
    ring_flush,
    ring_idle,
    ring_last_error,
    ring_reserve,
    ring_written,
)
from fastlb.engine.log_text cimport put_iso, put_number, put_quoted

cdef extern from "<time.h>" nogil:
    enum:
        CLOCK_REALTIME_COARSE

cdef extern from "<string.h>" nogil:
    char* strerror_r(int code, char* buf, size_t n)  # GNU's

cdef const char** _LEVELS = ["debug", "info", "warning", "error"]
LEVELS = ("debug", "info", "warning", "error")

cdef enum:
    RING = 256 * 1024
    CHUNK = 16 * 1024
    TEXT_BOUND = 2048           # of any line that is not an exchange's

cdef int64_t _now_us() noexcept nogil:
    cdef timespec t
    clock_gettime(CLOCK_REALTIME_COARSE, &t)  # a few ms old at worst; no system call
    return <int64_t>t.tv_sec * 1000000 + t.tv_nsec // 1000


cdef uint64_t _hash(const char* s, uint32_t n) noexcept nogil:
    """FNV-1a; the texts are our own, nobody outside chooses them."""
    cdef uint64_t h = <uint64_t>0xCBF29CE484222325
    cdef uint32_t i
    for i in range(n):
        h = (h ^ <unsigned char>s[i]) * <uint64_t>0x100000001B3
    return h


cdef class ErrorLog:
    """The error log of one process.

    target: "stderr", or any target of an access log; "off" writes nothing.
    level: least level written: "debug", "info", "warning" or "error".
    worker: number of the worker, None = not one of several.
    Raises ValueError for an unknown level or malformed target, OSError when it cannot be opened.
    """

    def __cinit__(self, *args, **kwargs):
        self._state = <FormatState*>calloc(1, sizeof(FormatState))
        if self._state == NULL:
            raise MemoryError
        format_init(self._state)

    def __init__(self, target="stderr", level="info", *, worker=None, tag="fastlb"):
        if level not in LEVELS:
            raise ValueError(f"log level {level!r}: expected one of {', '.join(LEVELS)}")
        self.level = LEVELS.index(level)
        who = f" {tag}[{os.getpid()}] " + ("" if worker is None else f"worker={worker} ")
        raw = who.encode()[:sizeof(self._who)]
        memcpy(self._who, <const char*>raw, len(raw))
        self._who_len = <uint32_t>len(raw)
        if target != "off":
            self._writer = LogWriter(target, RING, CHUNK)
            self._ring = self._writer.ring
            self.enabled = True
        # a pipe's lengths, whatever the target: a line must fit a chunk
        self._state.caps = caps_for(4096)

    def __dealloc__(self):
        free(self._state)

    cdef char* _begin(self, char* p, int level, int64_t now) noexcept nogil:
        cdef const char* name = _LEVELS[level]
        cdef size_t n = strlen(name)
        p = put_iso(p, now, &self._state.dates)
        p[0] = c' '
        memcpy(p + 1, name, n)
        p += 1 + n
        memcpy(p, self._who, self._who_len)
        return p + self._who_len

    cdef void _end(self, char* p) noexcept nogil:
        p[0] = c'\n'
        ring_commit(self._ring, p + 1)

    cdef void _summary(self, ReasonSlot* slot, int64_t now) noexcept nogil:
        """'... reason="..." more=N': what the limit held back."""
        cdef char* p
        if slot.more == 0:
            return
        p = ring_reserve(self._ring, TEXT_BOUND)
        if p != NULL:
            p = self._begin(p, slot.level, now)
            memcpy(p, b"reason=\"", 8)
            p = put_quoted(p + 8, slot.text, slot.text_len, 4 * REASON_TEXT)
            memcpy(p, b"\" more=", 7)
            self._end(put_number(p + 7, slot.more))
        slot.more = 0

    cdef bint _allowed(self, int level, const char* text, uint32_t n, int64_t now) noexcept nogil:
        cdef uint64_t h = _hash(text, n)
        cdef int64_t second = now // 1000000
        cdef ReasonSlot* slot = &self._reasons[(h ^ (h >> 32)) & (REASON_SLOTS - 1)]
        if slot.hash != h or slot.second != second:
            self._summary(slot, now)
            slot.hash = h
            slot.second = second
            slot.lines = 0
            slot.level = level
            slot.text_len = n if n < REASON_TEXT else REASON_TEXT
            if n:
                memcpy(slot.text, text, slot.text_len)
        if slot.lines >= REASON_LINES:
            slot.more += 1
            return False
        slot.lines += 1
        return True

    cdef void log_failure(self, const LogRecord* r, int level) noexcept nogil:
        cdef char* p
        cdef int64_t now
        if not self.enabled or level < self.level:
            return
        now = _now_us()
        if not self._allowed(level, r.reason, r.reason_len if r.reason != NULL else 0, now):
            return
        p = ring_reserve(self._ring, line_bound(r, self._state.caps))
        if p != NULL:
            self._end(format_failure(self._begin(p, level, now), r, self._state))

    cdef void log_errno(self, const char* what, int error) noexcept nogil:
        cdef char text[256]
        cdef char scrap[128]
        cdef char* p = text
        cdef const char* reason = strerror_r(error, scrap, sizeof(scrap))
        p = put_quoted(p, what, <uint32_t>strlen(what), 120)
        memcpy(p, b": ", 2)
        p = put_quoted(p + 2, reason, <uint32_t>strlen(reason), 120)
        self.log_text(LEVEL_ERROR, text, <uint32_t>(p - text))

    cdef void log_text(self, int level, const char* text, uint32_t n) noexcept nogil:
        cdef char* p
        cdef int64_t now
        if not self.enabled or level < self.level:
            return
        now = _now_us()
        if not self._allowed(level, text, n, now):
            return
        p = ring_reserve(self._ring, TEXT_BOUND)
        if p != NULL:
            p = self._begin(p, level, now)
            self._end(put_quoted(p, text, n, TEXT_BOUND - 512))

    cdef bint log_dropped(self, const char* what, uint64_t n, Ring* of) noexcept nogil:
        cdef char* p
        cdef int error
        cdef char scrap[128]
        cdef const char* text
        cdef int64_t now = _now_us()
        if not self.enabled:
            return True
        if now < self._next_dropped:
            return False
        p = ring_reserve(self._ring, TEXT_BOUND)
        if p == NULL:
            return False
        self._next_dropped = now + 1000000
        p = self._begin(p, LEVEL_ERROR, now)
        p = put_quoted(p, what, <uint32_t>strlen(what), 256)
        memcpy(p, b": ", 2)
        p = put_number(p + 2, n)
        memcpy(p, b" lines dropped", 14)
        p += 14
        error = ring_last_error(of) if of != NULL else 0
        if error:
            text = strerror_r(error, scrap, sizeof(scrap))
            memcpy(p, b": ", 2)
            p = put_quoted(p + 2, text, <uint32_t>strlen(text), 256)
        self._end(p)
        return True

    cdef void flush(self) noexcept nogil:
        cdef int64_t now
        cdef uint64_t dropped
        cdef int i
        if not self.enabled:
            return
        now = _now_us()
        if now // 1000000 >= self._next_sweep:
            self._next_sweep = now // 1000000 + 1
            for i in range(REASON_SLOTS):
                if self._reasons[i].more and self._reasons[i].second != now // 1000000:
                    self._summary(&self._reasons[i], now)
            dropped = ring_dropped(self._ring)
            if dropped != self._reported and ring_idle(self._ring):
                if self.log_dropped(b"error log", dropped - self._reported, self._ring):
                    self._reported = dropped
        ring_flush(self._ring, False)

    def failure(self, fields, str level="warning"):
        """`log_failure` from a mapping of LogRecord's field names. For tests and tools."""
        cdef RecordHolder holder = RecordHolder(dict(fields))
        self.log_failure(&holder.record, LEVELS.index(level))

    def text(self, str text, str level="info"):
        """One line of text."""
        cdef bytes raw = text.encode()
        self.log_text(LEVELS.index(level), raw, <uint32_t>len(raw))

    @property
    def dropped(self):
        """Lines dropped since the start (not those held back by the limit of their reason)."""
        return ring_dropped(self._ring) if self.enabled else self._dropped

    @property
    def written(self):
        """Lines the target has taken."""
        return ring_written(self._ring) if self.enabled else self._written

    def hand_over(self):
        """`flush` for Python callers."""
        self.flush()

    def sync(self, double timeout=5.0):
        """Hand everything over and wait until the target took it; False when `timeout` seconds were not enough."""
        return self._writer.sync(timeout) if self.enabled else True

    def reopen(self):
        """Open the target again, after its file was renamed. Returns at once."""
        if self.enabled:
            self._writer.reopen()

    def close(self, double timeout=2.0):
        """Sum up, deliver what is left within `timeout` seconds; True when no line was ever dropped. Idempotent."""
        cdef int i
        if not self.enabled:
            return self._dropped == 0
        for i in range(REASON_SLOTS):
            self._summary(&self._reasons[i], _now_us())
        self.enabled = False
        self._ring = NULL
        clean = self._writer.finish(timeout)
        self._dropped = self._writer.refused + self._writer.lost
        self._written = self._writer.written
        return clean
