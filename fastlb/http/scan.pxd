# Byte classes and scans of scan.h. Every scan returns the first byte of [p, end) outside its class, or end;
# `base` is the start of the buffer (see scan.h for what it is needed for).
from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef extern from "scan.h" nogil:
    enum:
        FL_TOKEN
        FL_VALUE
        FL_TARGET
        FL_DIGIT
        FL_HEX
        FL_REGNAME
        FL_QDTEXT
        FL_COMMON
    const int FL_SCAN_SSE2
    const uint64_t FL_LENGTH_MAX
    bint FL_LIKELY(bint x)
    bint FL_UNLIKELY(bint x)
    bint fl_is(uint8_t c, int classes)
    int fl_hex(uint8_t c)
    uint8_t fl_lower(uint8_t c)
    uint32_t fl_load4(const uint8_t* p)
    uint64_t fl_load8(const uint8_t* p)
    const uint8_t* fl_run(const uint8_t* p, const uint8_t* end, int cls)
    const uint8_t* fl_scan_value(const uint8_t* p, const uint8_t* end, const uint8_t* base)
    const uint8_t* fl_scan_target(const uint8_t* p, const uint8_t* end, const uint8_t* base)
    const uint8_t* fl_scan_common(const uint8_t* p, const uint8_t* end, const uint8_t* base)
    const uint8_t* fl_scan_host(const uint8_t* p, const uint8_t* end, const uint8_t* base)
    bint fl_same_name(const uint8_t* name, const uint8_t* lower, unsigned n)
