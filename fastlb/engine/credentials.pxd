# Asks a request for credentials: a name and password (RFC 7617), or a token (RFC 6750).
from libc.stdint cimport uint32_t, uint64_t
from cpython.object cimport PyObject
from fastlb.engine.core cimport Core
from fastlb.engine.exchange cimport Exchange
from fastlb.engine.grants cimport Grant, Grants
from fastlb.engine.step cimport Step

cdef class CredentialStep(Step):
    cdef:
        Core core
        Grants grants
        object checker          # verifies what is not in `grants`, off the loop
        bytes scheme            # lower case
        bytes cookie            # that may hold the token; b"" = none may
        bytes challenge         # WWW-Authenticate of who brings none
        size_t longest          # credentials beyond are refused unread
        uint32_t patience_ms
        dict waiting            # digest -> addresses of the exchanges that wait for it
        dict asked              # address of a waiting exchange -> digest
        uint64_t granted, cached, refused, limited, failed
    cdef const char* _find(self, Exchange e, size_t* n) noexcept
    cdef void _begin(self, Exchange e, const char* p, size_t n, const unsigned char* digest) noexcept
    cdef bint _admit(self, Exchange e, Grant grant) noexcept
    cdef void _refuse(self, Exchange e, int status, bytes challenge, const char* reason, uint32_t retry_after) noexcept
    cdef void _forget(self, PyObject* exchange) noexcept
