"""Asks a request for credentials and lets through who has been verified.

Verifying is slow on purpose (passwords) or at least much slower than a request (signatures), so it is not done here:
what is not in the table of grants is handed to a checker, whose threads work while the exchange waits. Requests with
the same credentials wait for one verification. Nothing here raises on what a client sends.
"""

from fastlb.engine.admission cimport park, resume
from fastlb.engine.grants cimport DIGEST
from fastlb.engine.request_key cimport KEY_COOKIE, KEY_IP, count_cookies, find_key, first_field, mask_address
from fastlb.engine.stats cimport COUNT_DENIED
from fastlb.engine.step cimport STEP_DONE, STEP_PASS
from fastlb.http.fields cimport FIELD_AUTHORIZATION
from fastlb.http.request_head cimport RequestHead
from fastlb._core.span cimport Span

# The reasons that checkers give, kept for ever: logs and pages point at their bytes.
_reasons = {}


cdef inline char lower(char c) noexcept nogil:
    return c | 32 if c'A' <= c <= c'Z' else c


cdef class CredentialStep(Step):
    """Lets those through whom `checker` knows.

    core: of the worker; scheme: basic | bearer; challenge: the field for who brings nothing; cookie: that may hold the
    token instead; longest: bytes of credentials; patience: seconds that verification may take; size: of the table.
    checker.begin(credentials, address, told) has `told(verdict)` called on the loop, and is False when too much waits.
    """

    def __init__(self, Core core not None, checker, str scheme, bytes challenge, str cookie="", size_t longest=1400,
                 double patience=10.0, unsigned size=4096):
        self.core = core
        self.grants = Grants(size)
        self.checker = checker
        self.scheme = scheme.encode()
        self.cookie = cookie.encode()
        self.challenge = challenge
        self.longest = longest
        self.patience_ms = <uint32_t>(patience * 1000)
        self.waiting = {}
        self.asked = {}

    def figures(self):
        """Counts of this worker: granted (of those cached), refused, limited, failed."""
        return {"granted": self.granted, "cached": self.cached, "refused": self.refused, "limited": self.limited,
                "failed": self.failed}

    cdef int ask(self, PyObject* exchange) noexcept:
        cdef Exchange e = <Exchange>exchange
        cdef unsigned char digest[DIGEST]
        cdef size_t n = 0
        cdef const char* p = self._find(e, &n)
        cdef Grant grant
        if p == NULL or n == 0:
            self._refuse(e, 401, self.challenge, b"no credentials", 0)
            return STEP_DONE
        if n > self.longest:
            self._refuse(e, 401, self.challenge, b"credentials too long", 0)
            return STEP_DONE
        self.grants.digest(p, n, digest)
        grant = self.grants.find(digest, e.core.reactor.now_ms)
        if grant is not None:
            self.cached += 1
            return STEP_PASS if self._admit(e, grant) else STEP_DONE
        self._begin(e, p, n, digest)
        return STEP_DONE

    cdef const char* _find(self, Exchange e, size_t* n) noexcept:
        """The credentials behind the scheme's name, or in the cookie; NULL when there are none."""
        cdef const RequestHead* h = e.core.request
        cdef Span field = first_field(h, FIELD_AUTHORIZATION)
        cdef const char* p = e.saved.data + field.off
        cdef const char* scheme = self.scheme
        cdef size_t size = <size_t>len(self.scheme)
        cdef size_t i
        # Two fields are two opinions, and the server might take the other one.
        if h.repeated & 1u << FIELD_AUTHORIZATION:
            return NULL
        if field.len > size and p[size] == c' ':
            for i in range(size):
                if lower(p[i]) != scheme[i]:
                    break
            else:
                while size < field.len and p[size] == c' ':
                    size += 1
                n[0] = field.len - size
                return p + size
        if len(self.cookie) and count_cookies(h, e.saved.data, self.cookie, <size_t>len(self.cookie)) == 1:
            return find_key(KEY_COOKIE, self.cookie, <size_t>len(self.cookie), h, e.saved.data, NULL, n)
        return NULL

    cdef void _begin(self, Exchange e, const char* p, size_t n, const unsigned char* digest) noexcept:
        cdef bytes key = digest[:DIGEST]
        cdef unsigned char masked[17]
        cdef const char* address
        cdef size_t size = 0
        cdef object place = <size_t><PyObject*>e
        waiting = self.waiting.get(key)
        if waiting is None:
            address = find_key(KEY_IP, NULL, 0, e.core.request, e.saved.data, e.client.peer(), &size)
            size = mask_address(masked, <const unsigned char*>address, size, 32, 64) if address != NULL else 0
            try:
                if not self.checker.begin(p[:n], masked[:size], Told(self, key)):
                    self.limited += 1
                    self._refuse(e, 503, b"", b"too many verifications wait", 1)
                    return
            except Exception:
                self.failed += 1
                self._refuse(e, 503, b"", b"credentials cannot be verified", 1)
                return
            self.waiting[key] = waiting = []
        waiting.append(place)
        self.asked[place] = key
        self.core.reactor.awaited += 1  # the verdict comes through the outer loop
        park(e, self, self.patience_ms)

    def told(self, bytes key, verdict):
        """A verification is over; on the loop. `verdict`: see fastlb.auth.verdict."""
        cdef Exchange e
        cdef Grant grant = None
        cdef const char* reason
        cdef object place
        self.core.reactor.update_clock()
        reason_text = _reasons.setdefault(verdict.reason, verdict.reason)
        reason = reason_text
        status = verdict.status
        if status == 0:
            try:
                grant = Grant(verdict.lines, verdict.user,
                              self.core.reactor.now_ms + <uint64_t>(max(verdict.seconds, 0.0) * 1000))
            except ValueError:
                status = 403
                reason = b"what the credentials say cannot be a header field"
            else:
                self.grants.put(<const unsigned char*><const char*>key, grant, self.core.reactor.now_ms)
        for place in self.waiting.pop(key, ()):
            if self.asked.pop(place, None) is None:
                continue                # it has left
            self.core.reactor.awaited -= 1
            e = <Exchange><PyObject*><size_t>place
            if status == 0:
                if self._admit(e, grant):
                    resume(e)
                continue
            e.parked = None
            e.client.wait_until(0)
            if status == 503:
                self.failed += 1
            self._refuse(e, status, verdict.challenge, reason, verdict.retry_after)
        self.core.reactor.settle()

    cdef bint _admit(self, Exchange e, Grant grant) noexcept:
        """Gives the exchange what was granted; false when it was refused after all."""
        if len(grant.lines) and not e.extra().add_lines(grant.lines, <size_t>len(grant.lines)):
            e.parked = None
            self.failed += 1
            self._refuse(e, 503, b"", b"out of memory", 1)
            return False
        if len(grant.user):
            e.extra().user = grant.user
        self.granted += 1
        return True

    cdef void _refuse(self, Exchange e, int status, bytes challenge, const char* reason, uint32_t retry_after) noexcept:
        if status == 401 or status == 403:
            self.refused += 1
        elif status == 429:
            self.limited += 1
        if len(challenge):
            e.extra().add_response(b"WWW-Authenticate", 16, challenge, <size_t>len(challenge))
        e.front.counters[COUNT_DENIED] += 1
        e.retry_after = retry_after
        e.fail(status, b"PR", reason)

    cdef void due(self, PyObject* exchange) noexcept:
        cdef Exchange e = <Exchange>exchange
        self._forget(exchange)
        e.parked = None
        self.failed += 1
        self._refuse(e, 503, b"", b"credentials were not verified in time", 1)

    cdef void left(self, PyObject* exchange) noexcept:
        self._forget(exchange)

    cdef void _forget(self, PyObject* exchange) noexcept:
        cdef object place = <size_t>exchange
        key = self.asked.pop(place, None)
        if key is not None:
            self.core.reactor.awaited -= 1
        waiting = self.waiting.get(key)
        if waiting is not None:
            waiting.remove(place)       # the list stays: others with these credentials join the verification

cdef class Told:
    """Tells a step of the verdict on one set of credentials."""

    cdef CredentialStep step
    cdef bytes key

    def __cinit__(self, CredentialStep step, bytes key):
        self.step = step
        self.key = key

    def __call__(self, verdict):
        self.step.told(self.key, verdict)
