# What the two head parsers have in common: a field line as offsets, well-known names, verdicts, limits.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from fastlb._core.span cimport Span

cdef enum:
    MAX_FIELDS = 256            # capacity; the limit in force is HeadLimits.count

# Names that fastlb reads itself; everything else is FIELD_OTHER.
cdef enum FieldId:
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
    FIELD_SERVER
    FIELD_RETRY_AFTER
    FIELD_CONTENT_TYPE
    FIELD_HTTP2_SETTINGS
    FIELD_IDS

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
    REASON_COUNT

cdef const char* reason_text(int reason) noexcept nogil
