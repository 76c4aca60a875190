# What the two head parsers have in common: a field line as offsets, well-known names, verdicts, limits.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from fastlb._core.span cimport Span

cdef enum:
    MAX_FIELDS = 256            # capacity; the limit in force is HeadLimits.count

# Names that fastlb reads itself; everything else is FIELD_OTHER.
# FieldId. Without a name, because Cython takes no value of a named enum as an index.
cdef enum:
    FIELD_OTHER = 0
    FIELD_HOST
    FIELD_CONNECTION
    FIELD_CONTENT_LENGTH
    FIELD_TRANSFER_ENCODING
    FIELD_EXPECT
    FIELD_UPGRADE
    FIELD_KEEP_ALIVE
    FIELD_PROXY_CONNECTION
    FIELD_TE
    FIELD_TRAILER
    FIELD_PROXY_AUTHENTICATE
    FIELD_PROXY_AUTHORIZATION
    FIELD_X_FORWARDED_FOR
    FIELD_X_FORWARDED_PROTO
    FIELD_X_FORWARDED_HOST
    FIELD_X_FORWARDED_PORT
    FIELD_FORWARDED
    FIELD_X_REQUEST_ID
    FIELD_COOKIE
    FIELD_SET_COOKIE
    FIELD_USER_AGENT
    FIELD_REFERER
    FIELD_ACCEPT
    FIELD_DATE
    FIELD_X_FORWARDED_CLIENT_CERT
    FIELD_RETRY_AFTER
    FIELD_CONTENT_TYPE
    FIELD_HTTP2_SETTINGS
    FIELD_AUTHORIZATION
    FIELD_X_REAL_IP
    FIELD_TRACEPARENT
    FIELD_IDS                   # at most 32: they index `seen` and are bits of `repeated`

# One field line: offsets from the first byte of the head. The line itself is
# [line, line_end), line_end pointing after its CRLF, so runs of kept lines can be copied in one go.
ctypedef struct Field:
    uint32_t name               # offset of the name (= start of the line)
    uint32_t value              # offset of the value without leading white space
    uint32_t value_len          # without trailing white space
    uint16_t name_len
    uint8_t id                  # FieldId
    uint8_t flags               # FIELD_HOP: must not be forwarded (RFC 9110 section 7.6.1)

cdef enum:
    # Also set on names that a CGI-style server cannot tell from one of the names above, such as Content_Length or
    # X_Forwarded_For: they must not be forwarded either.
    FIELD_HOP = 1

ctypedef struct HeadLimits:
    uint32_t bytes              # whole head -> 431
    uint32_t count              # fields -> 431
    uint32_t uri                # request target -> 414

# How the body is delimited (RFC 9112 section 6.3)
cdef enum Framing:
    FRAMING_NONE = 0            # no body
    FRAMING_LENGTH = 1          # content_length bytes
    FRAMING_CHUNKED = 2
    FRAMING_EOF = 3             # responses only: until the connection closes
    FRAMING_TUNNEL = 4          # 101 or CONNECT 2xx: no longer HTTP

cdef enum Parse:
    PARSE_ERROR = -1            # status and reason are set
    PARSE_MORE = 0              # the head is not complete

# Why a message was refused; `reason_text` gives the words for the log.
cdef enum Reason:
    REASON_NONE = 0
    REASON_METHOD
    REASON_TARGET
    REASON_VERSION              # 505
    REASON_REQUEST_LINE
    REASON_STATUS_LINE
    REASON_URI_TOO_LONG         # 414
    REASON_HEAD_TOO_LARGE       # 431
    REASON_TOO_MANY_FIELDS      # 431
    REASON_FIELD_NAME
    REASON_FIELD_VALUE
    REASON_FIELD_LINE           # no colon, space before the colon
    REASON_OBS_FOLD
    REASON_BARE_LF
    REASON_BARE_CR
    REASON_CONTENT_LENGTH
    REASON_LENGTH_AND_CHUNKED
    REASON_TRANSFER_ENCODING
    REASON_NO_HOST
    REASON_HOST
    REASON_CHUNK_SIZE
    REASON_CHUNK_EXTENSION
    REASON_CHUNK_END
    REASON_TRAILER
    REASON_UPGRADE
    REASON_CONNECTION           # Connection lists more names than a sender has any use for
    REASON_TE_UNKNOWN           # 501: well-formed, but a coding besides chunked
    REASON_COUNT

cdef const char* reason_text(int reason) noexcept nogil


# --- shared by the two head parsers -----------------------------------------------------------------------------------

cdef enum FieldState:
    FIELDS_LINE = 0             # at the first byte of a line
    FIELDS_NAME
    FIELDS_SPACE                # after the colon
    FIELDS_VALUE

# Where the scan of a field section stands. The line being read lives in fields[nfields], which is why a copy of a
# half-read head has to take one field more than nfields.
ctypedef struct FieldScan:
    Field* fields
    uint16_t* seen
    uint32_t repeated
    uint32_t pos
    uint32_t start              # first byte of the line being read
    uint32_t limit              # fields allowed, at most MAX_FIELDS
    uint16_t nfields
    uint8_t state               # FieldState
    uint8_t reason

# Field lines up to and including the empty line: 1 when done, PARSE_MORE, or PARSE_ERROR with s.reason. O(new bytes).
cdef int scan_fields(FieldScan* s, const char* buf, uint32_t n) noexcept nogil
# FieldId of a name of tchars; case-insensitive, O(1).
cdef int field_id(const char* name, size_t n) noexcept nogil
# FieldId of the known name that `name` could be taken for once every tchar besides letters and digits is read as '-'
# (what CGI, WSGI and their like do to names), or FIELD_OTHER. Not for names that are known themselves.
cdef int field_lookalike(const char* name, size_t n) noexcept nogil
# 1 when the two names are the same without regard to case.
cdef bint name_equal(const char* a, size_t an, const char* b, size_t bn) noexcept nogil

cdef enum ConnectionOption:
    CONNECTION_CLOSE = 1
    CONNECTION_KEEP_ALIVE = 2
    CONNECTION_UPGRADE = 4
    CONNECTION_NAMES = 8        # names of other fields

# Reads every Connection field and sets FIELD_HOP on the fields they name: a set of ConnectionOption, or -1 when they
# list more names than CONNECTION_NAMES_MAX.
cdef int connection_options(Field* fields, uint32_t nfields, const uint16_t* seen, bint repeated,
                            const char* buf) noexcept nogil
