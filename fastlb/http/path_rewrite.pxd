# Path rewriting on the way to a server: strip a prefix, replace a prefix, or set the path.
from libc.stdint cimport uint8_t, uint32_t

cdef class PathRewriter:
    cdef:
        uint8_t steps           # bits of what is to do
        # prefixes without trailing slash, as a raw path shows them and as a plain one does
        const char* strip_raw
        const char* strip_plain
        const char* old_raw
        const char* old_plain
        const char* new_path
        const char* set_path
        uint32_t strip_raw_len, strip_plain_len, old_raw_len, old_plain_len, new_path_len, set_path_len
        readonly bint sets_query        # the path that is set brings its own query
        tuple _keep             # the bytes that the pointers above point into

    # Bytes that write() can need, scratch not counted, for a path of n bytes.
    cdef inline size_t bound(self, uint32_t n) noexcept:
        return <size_t>3 * n + self.new_path_len + self.set_path_len + 2

    # Hot. Writes the new path for path[0:n] (n > 0) to o; `scratch` has n + 1 bytes. Returns the place behind,
    # NULL for a path that servers read differently (see path.pyx): it could leave the place it is rewritten into.
    cdef char* write(self, char* o, const char* path, uint32_t n, char* scratch) noexcept
