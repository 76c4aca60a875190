# A list of field names that lives by itself.
from fastlb.http.field_match cimport NameList

cdef class Names:
    cdef:
        NameList list
        tuple _keep
    # `folded`: '_' and '-' are the same, as they are to many a server.
    cdef bint has(self, const char* text, unsigned int n, bint folded) noexcept
