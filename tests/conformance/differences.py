"""The cases whose verdict is not "ok" and may stay so, with the reason. Keys: case id; values: (verdict, reason)."""

REQUESTS: dict[str, tuple[str, str]] = {
    "gunicorn:valid/024": (
        "overstrict",
        "a head of 16,416 bytes: 431 by the default limits.header_bytes of 16 KB, which the operator may raise",
    ),
    "gunicorn:invalid/009": (
        "overstrict",
        "more than 100 header fields: 431 by the default limits.header_count; the source refuses it too",
    ),
    **{
        f"gunicorn:invalid/rfc9110_trailer_forbidden_{name}_01": (
            "overstrict",
            "a trailer field that RFC 9110 section 6.5.1 forbids there: a server that merges trailers into the head "
            "would read another framing or host than ours; the source refuses it too",
        )
        for name in ("cl", "te", "host")
    },
}

RESPONSES: dict[str, tuple[str, str]] = {
    "llhttp:response/connection#14": (
        "accepted",
        "a whole 304, then bytes nobody asked for: the client gets the 304 alone and the server connection is closed",
    ),
    "llhttp:response/pipelining#0": (
        "accepted",
        "a whole 200, then CRLF and answers nobody asked for: the client gets the 200 alone and the server connection "
        "is closed; the driver marks the stray CRLF as a broken status line",
    ),
}
