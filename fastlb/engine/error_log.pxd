# Why exchanges were refused or failed, and what else the engine has to say; a line each, limited by reason.
from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastlb.engine.log_format cimport FormatState
from fastlb.engine.log_record cimport LogRecord
from fastlb.engine.log_ring cimport LogWriter, Ring

cdef enum LogLevel:
    LEVEL_DEBUG = 0
    LEVEL_INFO = 1
    LEVEL_WARNING = 2
    LEVEL_ERROR = 3

cdef enum:
    REASON_SLOTS = 64           # a power of two
    REASON_TEXT = 96
    REASON_LINES = 10           # lines a second and reason

# One reason's last second.
ctypedef struct ReasonSlot:
    uint64_t hash
    int64_t second
    uint32_t lines              # written in it
    uint32_t more               # held back
    int level
    uint32_t text_len
    char text[REASON_TEXT]

cdef class ErrorLog:
    cdef readonly bint enabled
    cdef readonly int level         # least LogLevel that is written
    cdef Ring* _ring
    cdef FormatState* _state
    cdef LogWriter _writer
    cdef ReasonSlot _reasons[REASON_SLOTS]
    cdef char _who[160]             # " fastlb[12] worker=1 "
    cdef uint32_t _who_len
    cdef int64_t _next_sweep        # second from which held back lines may be summed up
    cdef int64_t _next_dropped      # the same for lines dropped
    cdef uint64_t _reported
    cdef uint64_t _dropped          # final figures
    cdef uint64_t _written

    # A refused or failed exchange, by its `reason`. Never waits.
    cdef void log_failure(self, const LogRecord* r, int level) noexcept nogil
    # Any other text, limited in the same way by `text`.
    cdef void log_text(self, int level, const char* text, uint32_t n) noexcept nogil
    # "WHAT: the text of errno".
    cdef void log_errno(self, const char* what, int error) noexcept nogil
    # "WHAT: N lines dropped", of this or another log, and why when its ring knows; False when the last such line
    # is less than a second old.
    cdef bint log_dropped(self, const char* what, uint64_t n, Ring* of) noexcept nogil
    # Every ~100 ms: sums up what was held back, hands a partial chunk to the writer.
    cdef void flush(self) noexcept nogil

    cdef char* _begin(self, char* p, int level, int64_t now) noexcept nogil
    cdef void _end(self, char* p) noexcept nogil
    cdef bint _allowed(self, int level, const char* text, uint32_t n, int64_t now) noexcept nogil
    cdef void _summary(self, ReasonSlot* slot, int64_t now) noexcept nogil
