"""The Date field's value: IMF-fixdate (RFC 9110 section 5.6.7), made once a second."""

from libc.stdint cimport int64_t
from libc.string cimport memcpy
from fastlb._core.net cimport clock_gettime, timespec

cdef extern from "<time.h>" nogil:
    int CLOCK_REALTIME_COARSE   # read from memory, good to a few milliseconds

cdef int64_t made = -1
cdef char text[32]


cdef inline void two(char* o, int64_t value) noexcept nogil:
    o[0] = <char>(c'0' + value // 10)
    o[1] = <char>(c'0' + value % 10)


cdef void make_date(int64_t second, char* o) noexcept nogil:
    """'Sun, 06 Nov 1994 08:49:37 GMT'. The date by days counted from 0000-03-01, where a leap day ends the year."""
    cdef:
        int64_t days = second // 86400, rest = second % 86400
        int64_t shifted, era, day_of_era, year_of_era, day_of_year, month5, day, month, year
    shifted = days + 719468
    era = shifted // 146097
    day_of_era = shifted % 146097
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36524 - day_of_era // 146096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month5 = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * month5 + 2) // 5 + 1
    month = month5 + 3 if month5 < 10 else month5 - 9
    year = year_of_era + era * 400 + (1 if month <= 2 else 0)
    memcpy(o, <const char*>b"Sun, 00 Jan 0000 00:00:00 GMT", 29)
    memcpy(o, <const char*>b"ThuFriSatSunMonTueWed" + 3 * (days % 7), 3)
    two(o + 5, day)
    memcpy(o + 8, <const char*>b"JanFebMarAprMayJunJulAugSepOctNovDec" + 3 * (month - 1), 3)
    two(o + 12, year // 100)
    two(o + 14, year % 100)
    two(o + 17, rest // 3600)
    two(o + 20, rest // 60 % 60)
    two(o + 23, rest % 60)


cdef const char* http_date() noexcept nogil:
    global made
    cdef timespec t
    clock_gettime(CLOCK_REALTIME_COARSE, &t)
    if t.tv_sec != made:
        make_date(t.tv_sec, text)
        made = t.tv_sec
    return text


def format_date(int64_t second):
    """The field value of a Unix time, 0 to 253402300799 (the year 9999)."""
    cdef char out[32]
    if not 0 <= second <= 253402300799:
        raise ValueError("not a time between 1970 and 9999")
    make_date(second, out)
    return out[:29].decode("ascii")
