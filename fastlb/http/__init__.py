"""HTTP/1.1 heads and bodies: strict parsers that work on offsets, without sockets, clock or Python objects.

The engine calls their C functions; `RequestParser`, `ResponseParser` and `ChunkedDecoder` are the same code for Python.
"""

from fastlb.http.parser import ChunkedDecoder, Refused, RequestParser, ResponseParser, split_authority

__all__ = ["ChunkedDecoder", "Refused", "RequestParser", "ResponseParser", "split_authority"]
