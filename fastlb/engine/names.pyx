"""A list of field names."""

import array

from fastlb.http.field_match cimport is_listed, may_be_listed, set_names


cdef class Names:
    """names: texts, compared without case."""

    def __cinit__(self, names=()):
        known = list(dict.fromkeys(name.lower().encode() for name in names))
        self._keep = (b"".join(known), array.array("H", [len(name) for name in known]).tobytes())
        set_names(&self.list, <const char*>self._keep[0], <const char*>self._keep[1], <unsigned int>len(known))

    def __len__(self):
        return self.list.count

    cdef bint has(self, const char* text, unsigned int n, bint folded) noexcept:
        return may_be_listed(&self.list, n) and is_listed(&self.list, text, n, folded)
