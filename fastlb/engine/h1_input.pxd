# A client connection that keeps what was received and not used yet.
from fastlb.engine.buffer cimport Chunk
from fastlb.engine.client_connection cimport CLIENT_HEAD, ClientConnection
from fastlb.http.request_head cimport RequestHead

cdef class H1Input(ClientConnection):
    cdef:
        Chunk* inb              # bytes received and not used yet: a partial head, or pipelined requests
        RequestHead* partial    # parser's memory of a partial head; NULL = at the start of a message
        bint working            # inside process(): do not recurse

    # Uses received bytes; what it cannot use yet it keeps.
    cdef void process(self, const char* p, size_t n) noexcept
    # The same with what `inb` holds. The chunk stays the connection's when keep_input() keeps a tail of it.
    cdef void process_input(self) noexcept
    # Keeps bytes for later in `inb`, which is empty now.
    cdef void keep_input(self, const char* p, size_t n) noexcept
    # Serves pipelined requests that were read already.
    cdef void next_request(self) noexcept

# Bytes were read that may hold another request, and the client has taken the answer before it.
cdef inline bint more_input(H1Input c) noexcept:
    return c.state == CLIENT_HEAD and c.inb != NULL and c.partial == NULL and c.out == NULL
