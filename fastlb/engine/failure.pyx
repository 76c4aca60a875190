"""How an attempt at a server fails, and what follows from it: status, termination flags, retry, blame."""


cdef const char* _because = NULL


cdef void failure_because(const char* text) noexcept nogil:
    global _because
    _because = text


cdef inline Verdict made(int status, const char* term, const char* reason, int again, bint blame) noexcept nogil:
    cdef Verdict v
    v.status = status
    v.term = term
    v.reason = reason
    v.again = again
    v.blame = blame
    return v


cdef Verdict failure_verdict(int failure, bint response_started) noexcept nogil:
    global _because
    cdef const char* text = b"connection to server failed"
    if failure == FAIL_CONNECT:
        if _because != NULL:
            text = _because
            _because = NULL
        return made(503, b"SC", text, AGAIN_ALWAYS, True)
    if failure == FAIL_CONNECT_TIMEOUT:
        return made(503, b"sC", b"connection to server timed out", AGAIN_ALWAYS, True)
    if failure == FAIL_RESOURCES:
        return made(503, b"RC", b"no descriptor or memory for a server connection", AGAIN_NEVER, False)
    if failure == FAIL_STALE:
        # Closing an idle connection is a server's right: no mark against it.
        return made(502, b"SH", b"server closed the connection before answering", AGAIN_IDEMPOTENT, False)
    if failure == FAIL_CLOSED:
        return made(502, b"SH", b"server closed the connection before answering", AGAIN_IDEMPOTENT, True)
    if failure == FAIL_TIMEOUT:
        return made(504, b"sH", b"server did not answer in time", AGAIN_IDEMPOTENT, True)
    if failure == FAIL_MALFORMED:
        return made(502, b"PD" if response_started else b"PH", b"malformed response", AGAIN_IDEMPOTENT, True)
    if failure == FAIL_TRUNCATED:
        return made(502, b"SD" if response_started else b"SH", b"server broke the response off", AGAIN_NEVER, True)
    if failure == FAIL_CUT_HEAD:
        return made(502, b"SH", b"server broke the response off", AGAIN_IDEMPOTENT, True)
    if failure == FAIL_STALLED:
        return made(502, b"sD", b"server stopped sending the response", AGAIN_NEVER, True)
    if failure == FAIL_STATUS:
        return made(502, b"SH", b"server answered a status that is tried again", AGAIN_IDEMPOTENT, True)
    if failure == FAIL_RESPONSE_TOO_LARGE:
        return made(502, b"PH", b"response head too large after rewriting", AGAIN_NEVER, False)
    if failure == FAIL_HEAD_REFUSED:
        return made(400, b"PR", b"request target cannot be passed on safely", AGAIN_NEVER, False)
    return made(431, b"PR", b"request head too large after rewriting", AGAIN_NEVER, False)


cdef char phase_of(bint queueing, bint response_started, bint connected, bint request_done) noexcept nogil:
    if queueing:
        return c'Q'
    if response_started:
        return c'D'
    if not connected:
        return c'C'
    return c'H' if request_done else c'D'
