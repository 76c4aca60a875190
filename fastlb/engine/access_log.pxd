# The access log of one process: `write` on the request path, everything else off it.
from libc.stdint cimport uint32_t, uint64_t

from fastlb.engine.error_log cimport ErrorLog
from fastlb.engine.log_format cimport FormatState, format_fn
from fastlb.engine.log_record cimport LogRecord
from fastlb.engine.log_ring cimport LogWriter, Ring

cdef class AccessLog:
    cdef readonly bint enabled      # False for the target "off" and after close(): nothing need be gathered
    cdef Ring* _ring                # of `_writer`
    cdef format_fn _format
    cdef FormatState* _state
    cdef LogWriter _writer
    cdef ErrorLog _errors           # is told how many lines were dropped; may be None
    cdef uint64_t _reported         # dropped lines it was told of
    cdef uint64_t _dropped          # final figure, after close()
    cdef uint64_t _written
    # The last lines, kept by the tick: the request path knows nothing of them.
    cdef char* _recent              # whole lines; NULL = none yet
    cdef uint32_t _recent_len
    cdef uint32_t _seen_chunks      # chunks handed over when the tick last looked
    cdef char* _seen                # where the chunk in hand ended then; NULL = there was none

    # Hot. One line of a finished exchange; never waits, never fails: what does not fit is dropped and counted.
    cdef void write(self, const LogRecord* r) noexcept nogil
    # Every ~100 ms and when idle: hand a partial chunk to the writer.
    cdef void flush(self) noexcept nogil

    cdef void _remember(self) noexcept nogil
    cdef void _keep(self, const char* p, uint32_t n) noexcept nogil
    cdef int _set_header(self, bytes before, bytes after) except -1
    cdef void _report(self, uint64_t dropped) noexcept nogil
