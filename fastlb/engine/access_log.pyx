"""The access log: one line for every finished exchange, in one of three formats, to one target.

`write` formats straight into a chunk of memory that a thread writes out (see log_ring); nothing on the request path
allocates, locks, waits or makes a system call, but for ringing that thread once a chunk when it sleeps.
"""

import os
import socket

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memchr, memcpy, memmove

from fastlb._core.debug cimport FL_ASSERT
from fastlb.engine.error_log cimport ErrorLog
from fastlb.engine.log_format cimport (
    FormatState,
    caps_for,
    format_combined,
    format_httplog,
    format_httpslog,
    format_init,
    format_json,
    line_bound,
    put_header,
)
from fastlb.engine.log_record cimport LogRecord, RecordHolder
from fastlb.engine.log_ring cimport (
    LogWriter,
    ring_commit,
    ring_dropped,
    ring_flush,
    ring_idle,
    ring_line_limit,
    ring_reopen_error,
    ring_reserve,
    ring_unwatch,
    ring_watch,
    ring_written,
)

FORMATS = ("json", "httplog", "httpslog", "combined")

cdef enum:
    CHUNK = 64 * 1024
    MEMORY = 8 * 1024 * 1024
    RECENT = 32 * 1024              # bytes of the last lines
    WATCHED = 1024 * 1024           # bytes of lines between two looks of who watches


cdef bytes _word(str text):
    """A host or program name that cannot tear a syslog header (64 bytes: HOST_NAME_MAX)."""
    return "".join(c if "!" <= c <= "~" else "_" for c in text)[:64].encode()


cdef class AccessLog:
    """The access log of one process. `write`, `flush`, `sync`, `close` belong to the engine's thread.

    target: "stdout", "stderr", the path of a file, "syslog:udp://HOST[:514]", "syslog:unix:/dev/log", or "off".
    format: "json", "httplog", "httpslog" or "combined".
    header: whether lines begin with a syslog header; None = as HAProxy's do: towards syslog always
        ("<134>Feb  6 12:14:14 fastlb[14389]: ", RFC 3164), elsewhere for httplog
        ("Feb  6 12:14:14 host fastlb[14389]: "), which is what a syslog daemon makes of them on disk and what halog
        reads without options.
    memory: bytes of lines that may wait for a stalled target, at least two chunks of 64 KB.
    errors: is told when lines were dropped.
    Raises ValueError for an unknown format or malformed target, OSError when the target cannot be opened.
    """

    def __cinit__(self, *args, **kwargs):
        self._state = <FormatState*>calloc(1, sizeof(FormatState))
        if self._state == NULL:
            raise MemoryError
        format_init(self._state)

    def __init__(
        self, str target="stdout", str format="json", *, header=None, str tag="fastlb", hostname=None, memory=MEMORY,
        ErrorLog errors=None,
    ):
        if format == "json":
            self._format = format_json
        elif format == "httplog":
            self._format = format_httplog
        elif format == "httpslog":
            self._format = format_httpslog
        elif format == "combined":
            self._format = format_combined
        else:
            raise ValueError(f"log format {format!r}: expected one of {', '.join(FORMATS)}")
        self._errors = errors
        syslog = target.startswith("syslog:")
        self._state.header = syslog or (format in ("httplog", "httpslog") if header is None else header)
        who = _word(tag) + b"[%d]: " % os.getpid()
        if syslog:
            # facility local0, severity info; HAProxy sends no host name either
            self._set_header(b"<134>", b" " + who)
        else:
            self._set_header(b"", b" " + _word(socket.gethostname() if hostname is None else hostname) + b" " + who)
        if target != "off":
            self._writer = LogWriter(target, memory, CHUNK)
            self._ring = self._writer.ring
            self._state.caps = caps_for(ring_line_limit(self._ring))
            self.enabled = True

    cdef int _set_header(self, bytes before, bytes after) except -1:
        memcpy(self._state.before, <const char*>before, len(before))
        self._state.before_len = <uint32_t>len(before)
        memcpy(self._state.after, <const char*>after, len(after))
        self._state.after_len = <uint32_t>len(after)
        return 0

    def __dealloc__(self):
        free(self._state)
        free(self._recent)

    cdef void write(self, const LogRecord* r) noexcept nogil:
        cdef char* start
        cdef char* p
        cdef uint32_t bound
        if not self.enabled:
            return
        bound = line_bound(r, self._state.caps)
        start = ring_reserve(self._ring, bound)
        if start == NULL:
            return
        p = start
        if self._state.header:
            p = put_header(p, r, self._state)
        p = self._format(p, r, self._state)
        p[0] = c'\n'
        FL_ASSERT(p + 1 - start <= <int>bound, b"a log line keeps to its bound")
        ring_commit(self._ring, p + 1)

    cdef void flush(self) noexcept nogil:
        cdef int error
        if not self.enabled:
            return
        error = ring_reopen_error(self._ring)
        if error and self._errors is not None:
            self._errors.log_errno(b"access log: not opened again", error)
        if ring_dropped(self._ring) != self._reported and ring_idle(self._ring):
            self._report(ring_dropped(self._ring))
        self._remember()
        ring_flush(self._ring, False)
        self._seen_chunks = self._ring.tail_full
        self._seen = self._ring.pos
        # the target may have become another kind when it was opened again
        self._state.caps = caps_for(ring_line_limit(self._ring))

    cdef void _remember(self) noexcept nogil:
        """Adds what was written since the last look to the last lines."""
        cdef Ring* g = self._ring
        cdef uint32_t number
        cdef char* begin
        cdef bint moved = g.tail_full != self._seen_chunks
        if moved:
            # Chunks were full in between. Of those the last one still holds its lines, if it is not in use again.
            self._recent_len = 0
            number = g.full[(g.tail_full - 1) % g.count]
            if g.pos == NULL or number != g.current:
                self._keep(g.memory + <size_t>number * g.chunk, g.size[number])
        if g.pos != NULL and g.lines != 0:
            begin = self._seen if self._seen != NULL and not moved else g.memory + <size_t>g.current * g.chunk
            self._keep(begin, <uint32_t>(g.pos - begin))
        self._seen_chunks = g.tail_full
        self._seen = g.pos

    cdef void _keep(self, const char* p, uint32_t n) noexcept nogil:
        """Appends lines to the last ones; the oldest leave."""
        cdef const char* end
        cdef uint32_t drop
        if self._recent == NULL:
            self._recent = <char*>malloc(2 * RECENT)
            if self._recent == NULL:
                return
        if n > RECENT:
            # some of these are left out, so what was before them would not join on
            self._recent_len = 0
            end = <const char*>memchr(p + n - RECENT, c'\n', RECENT)
            n = <uint32_t>(p + n - end - 1)
            p = end + 1
        if self._recent_len + n > 2 * RECENT:
            drop = self._recent_len - RECENT
            end = <const char*>memchr(self._recent + drop, c'\n', RECENT)
            drop = <uint32_t>(end + 1 - self._recent)
            self._recent_len -= drop
            memmove(self._recent, self._recent + drop, self._recent_len)
        memcpy(self._recent + self._recent_len, p, n)
        self._recent_len += n

    def recent(self):
        """The last lines, some 32 KB of them, oldest first; None when nothing is written anywhere."""
        if not self.enabled:
            return None
        self._remember()
        return b"" if self._recent == NULL else self._recent[:self._recent_len]

    def watch(self):
        """Has copies of all further lines kept for `take`; the last lines so far, None when nothing is written."""
        if not self.enabled:
            return None
        lines = self.recent()
        # what is in hand is among the last lines, and must not come again
        ring_flush(self._ring, True)
        self._seen_chunks = self._ring.tail_full
        self._seen = NULL
        if ring_watch(self._ring, WATCHED) < 0:
            raise MemoryError
        return lines

    def take(self):
        """(lines, how many had no room) since the last call, whole lines; after `flush`, so that all are there."""
        if not self.enabled or self._ring.tap == NULL:
            return b"", 0
        taken = self._ring.tap[:self._ring.tap_used], self._ring.tap_lost
        self._ring.tap_used = 0
        self._ring.tap_lost = 0
        return taken

    def unwatch(self):
        """Ends `watch`."""
        if self.enabled:
            ring_unwatch(self._ring)

    cdef void _report(self, uint64_t dropped) noexcept nogil:
        """The target has caught up, or takes nothing at all: say how many lines that cost."""
        if self._errors is not None:
            if not self._errors.log_dropped(b"access log", dropped - self._reported, self._ring):
                return
        self._reported = dropped

    @property
    def dropped(self):
        """Lines dropped since the start: no memory left for them, or the target refused them."""
        return ring_dropped(self._ring) if self.enabled else self._dropped

    @property
    def written(self):
        """Lines the target has taken."""
        return ring_written(self._ring) if self.enabled else self._written

    def emit(self, fields):
        """Write one line from a mapping of LogRecord's field names. For tests and tools."""
        cdef RecordHolder holder = RecordHolder(dict(fields))
        self.write(&holder.record)

    def emit_many(self, fields, int count):
        """The same line `count` times without Python in between, for benchmarks."""
        cdef RecordHolder holder = RecordHolder(dict(fields))
        cdef int _i
        for _i in range(count):
            self.write(&holder.record)

    def hand_over(self):
        """`flush` for Python callers."""
        self.flush()

    def sync(self, double timeout=5.0):
        """Hand everything over and wait until the target took it; False when `timeout` seconds were not enough."""
        if not self.enabled:
            return True
        done = self._writer.sync(timeout)
        self.flush()
        return done

    def reopen(self):
        """Open the target again, after its file was renamed. Returns at once; a failure keeps the old one."""
        if self.enabled:
            self._writer.reopen()

    def close(self, double timeout=2.0):
        """Deliver what is left, for at most `timeout` seconds; True when no line was ever dropped. Idempotent."""
        if not self.enabled:
            return self._dropped == 0
        self.enabled = False
        self._ring = NULL
        clean = self._writer.finish(timeout)
        self._dropped = self._writer.refused + self._writer.lost
        self._written = self._writer.written
        if self._errors is not None and self._dropped != self._reported:
            self._errors._next_dropped = 0  # the last word is not limited
            self._errors.log_dropped(b"access log", self._dropped - self._reported, NULL)
        return clean
