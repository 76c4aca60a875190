"""Weighted random draws in constant time: Walker's alias method in Vose's form (IEEE TSE 17(9), 1991)."""

import os

from libc.stdlib cimport free, malloc


cdef int alias_build(Alias* alias, const View* view) except -1:
    cdef uint32_t n = view.n
    cdef uint32_t i, small, large, nsmall = 0, nlarge = 0
    cdef double total = 0
    cdef double* share
    cdef uint32_t* todo
    cdef Column* columns
    if view.equal or n < 2:
        free(alias.columns)
        alias.columns = NULL
        alias.n = n
        return 0
    columns = <Column*>malloc(n * sizeof(Column))
    share = <double*>malloc(n * sizeof(double))
    todo = <uint32_t*>malloc(n * sizeof(uint32_t))
    if columns is NULL or share is NULL or todo is NULL:
        free(columns)
        free(share)
        free(todo)
        raise MemoryError()
    for i in range(n):
        total += view.members[i].weight
    for i in range(n):
        share[i] = view.members[i].weight * (n / total)
    # todo holds columns that are too small from the front and too large from the back
    for i in range(n):
        if share[i] < 1.0:
            todo[nsmall] = i
            nsmall += 1
        else:
            nlarge += 1
            todo[n - nlarge] = i
    while nsmall and nlarge:
        nsmall -= 1
        small = todo[nsmall]
        large = todo[n - nlarge]
        columns[small].threshold = <uint32_t>(share[small] * 4294967296.0)
        columns[small].alias = large
        share[large] -= 1.0 - share[small]
        if share[large] < 1.0:
            nlarge -= 1
            todo[nsmall] = large
            nsmall += 1
    # what is left is 1 but for rounding
    while nsmall:
        nsmall -= 1
        small = todo[nsmall]
        columns[small].threshold = 0xFFFFFFFF
        columns[small].alias = small
    while nlarge:
        large = todo[n - nlarge]
        nlarge -= 1
        columns[large].threshold = 0xFFFFFFFF
        columns[large].alias = large
    free(share)
    free(todo)
    free(alias.columns)
    alias.columns = columns
    alias.n = n
    return 0


cdef void alias_clear(Alias* alias) noexcept:
    free(alias.columns)
    alias.columns = NULL


cdef uint64_t fresh_seed() except? 0:
    return int.from_bytes(os.urandom(8), "little")
