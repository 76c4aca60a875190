# Asks a service whether a request may pass.
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from cpython.object cimport PyObject
from fastlb.engine.buffer cimport Chunk
from fastlb.engine.core cimport Core
from fastlb.engine.exchange cimport Exchange
from fastlb.engine.extras cimport Extras
from fastlb.engine.inner cimport InnerRequest
from fastlb.engine.names cimport Names
from fastlb.engine.step cimport Step
from fastlb.engine.upstream cimport Action, Frontend
from fastlb.http.chunked cimport Chunked
from fastlb.http.fields cimport Field

cdef class ForwardStep(Step):
    cdef:
        Core core
        Action action           # of the requests to the service
        Frontend front          # internal
        bytes path
        uint32_t timeout_ms
        bint allow_on_error
        Names send              # of the request's fields; empty = all
        Names copy              # of the answer's, for the server
        Names show              # for the client with the server's answer
        Names refusal           # for the client that is refused
        bytes user_header       # lower case
        uint32_t max_body
        dict calls              # address of a waiting exchange -> ForwardCall
        uint64_t granted, refused, failed
    cdef Chunk* _question(self, Exchange e, uint32_t* head_len) noexcept
    cdef void _failed(self, Exchange e) noexcept

cdef class ForwardCall(InnerRequest):
    cdef:
        ForwardStep step
        PyObject* outer         # the exchange that waits; it tells the step when it leaves
        Extras told             # lines of the answer for the server and the client
        Extras content          # those that describe the body of a refusal
        Chunk* body             # of a refusal
        Chunked decoder
        uint16_t status         # of the service's answer; 0 = none came
        bint unfit              # something of it cannot be passed on
        bint oversize
        bint stored             # it says how a refusal may be kept
    cdef void _keep_line(self, Extras to, const Field* f, const char* buf, bint request) noexcept
    cdef bint _keep_body(self, const char* p, size_t n) noexcept
    cdef void _refuse(self, Exchange e) noexcept
