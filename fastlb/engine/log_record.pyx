"""A log record made from Python, for tests, benchmarks and tools; the engine fills the struct itself."""

from libc.stdint cimport uint32_t
from libc.string cimport memcpy, memset

TEXTS = (
    "client", "frontend", "backend", "server", "line", "host", "user_agent", "referer", "request_id", "trace_id",
    "reason", "user", "tls_version", "tls_cipher", "tls_sni", "tls_client",
)
NUMBERS = (
    "start_us", "tr", "tw", "tc", "trr", "ta", "ta_us", "status", "client_port", "retries", "redispatched", "https",
    "tls_resumed", "tcp", "datagrams_in", "datagrams_out",
    "minor", "bytes_out", "bytes_in", "actconn", "feconn", "beconn", "srv_conn", "srv_queue", "backend_queue",
)


cdef bytes _bytes(object value):
    return value.encode() if isinstance(value, str) else bytes(value)


cdef class RecordHolder:
    """`fields` by the names of the struct: numbers, texts as str or bytes (None or absent = none), `term` of four
    characters. Raises ValueError for an unknown name, TypeError and OverflowError for a value that does not fit.
    """

    def __init__(self, dict fields):
        cdef LogRecord* r = &self.record
        cdef bytes flags
        memset(r, 0, sizeof(LogRecord))
        self._kept = []
        unknown = set(fields) - set(TEXTS) - set(NUMBERS) - {"term"}
        if unknown:
            raise ValueError(f"unknown log fields: {', '.join(sorted(unknown))}")
        numbers = {name: fields.get(name, 0) for name in NUMBERS}
        r.start_us = numbers["start_us"]
        r.tr = numbers["tr"]
        r.tw = numbers["tw"]
        r.tc = numbers["tc"]
        r.trr = numbers["trr"]
        r.ta = numbers["ta"]
        r.ta_us = numbers["ta_us"]
        r.status = numbers["status"]
        r.client_port = numbers["client_port"]
        r.retries = numbers["retries"]
        r.redispatched = bool(numbers["redispatched"])
        r.https = bool(numbers["https"])
        r.tls_resumed = bool(numbers["tls_resumed"])
        r.tcp = numbers["tcp"]
        r.datagrams_in = numbers["datagrams_in"]
        r.datagrams_out = numbers["datagrams_out"]
        r.minor = numbers["minor"]
        r.bytes_out = numbers["bytes_out"]
        r.bytes_in = numbers["bytes_in"]
        r.actconn = numbers["actconn"]
        r.feconn = numbers["feconn"]
        r.beconn = numbers["beconn"]
        r.srv_conn = numbers["srv_conn"]
        r.srv_queue = numbers["srv_queue"]
        r.backend_queue = numbers["backend_queue"]
        flags = _bytes(fields.get("term", b"----"))
        if len(flags) != 4:
            raise ValueError(f"term must have four characters, not {len(flags)}")
        memcpy(r.term, <const char*>flags, 4)
        self._text(fields, "client", &r.client, &r.client_len)
        self._text(fields, "frontend", &r.frontend, &r.frontend_len)
        self._text(fields, "backend", &r.backend, &r.backend_len)
        self._text(fields, "server", &r.server, &r.server_len)
        self._text(fields, "line", &r.line, &r.line_len)
        self._text(fields, "host", &r.host, &r.host_len)
        self._text(fields, "user_agent", &r.user_agent, &r.user_agent_len)
        self._text(fields, "referer", &r.referer, &r.referer_len)
        self._text(fields, "request_id", &r.request_id, &r.request_id_len)
        self._text(fields, "trace_id", &r.trace_id, &r.trace_id_len)
        self._text(fields, "reason", &r.reason, &r.reason_len)
        self._text(fields, "user", &r.user, &r.user_len)
        self._text(fields, "tls_version", &r.tls_version, &r.tls_version_len)
        self._text(fields, "tls_cipher", &r.tls_cipher, &r.tls_cipher_len)
        self._text(fields, "tls_sni", &r.tls_sni, &r.tls_sni_len)
        self._text(fields, "tls_client", &r.tls_client, &r.tls_client_len)

    cdef int _text(self, dict fields, str name, const char** at, uint32_t* n) except -1:
        cdef bytes raw
        value = fields.get(name)
        if value is None:
            return 0
        raw = _bytes(value)
        self._kept.append(raw)
        at[0] = raw
        n[0] = <uint32_t>len(raw)
        return 0
