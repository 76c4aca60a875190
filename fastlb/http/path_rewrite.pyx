"""Path rewriting on the way to a server."""

cimport cython
from libc.string cimport memcmp
from fastlb.http.path cimport escape_path, path_is_plain, plain_path
from fastlb.http.put cimport put, put_text

from urllib.parse import quote, unquote_to_bytes

cdef enum:
    STRIP = 1
    REPLACE = 2
    SET = 4

SAFE = "/%!$&'()*+,;=:@~"      # what may stand in a path (RFC 3986 section 3.3), and escapes that are there already


cdef inline uint32_t after_prefix(const char* path, uint32_t n, const char* prefix, uint32_t size) noexcept nogil:
    """Bytes of `prefix` at the head of `path` when they end where a segment ends; n + 1 when they do not."""
    if n >= size and (n == size or path[size] == c'/') and memcmp(path, prefix, size) == 0:
        return size
    return n + 1


cdef int take_prefixes(int steps, const char* path, uint32_t n, const char* strip, uint32_t strip_len,
                       const char* old, uint32_t old_len, uint32_t* at) noexcept nogil:
    """Which of the steps apply to the path, and how much of it they take away."""
    cdef uint32_t skip
    cdef int done = 0
    at[0] = 0
    if steps & STRIP:
        skip = after_prefix(path, n, strip, strip_len)
        if skip <= n:
            at[0] = skip
            done |= STRIP
    if steps & REPLACE:
        skip = after_prefix(path + at[0], n - at[0], old, old_len)
        if skip <= n - at[0]:
            at[0] += skip
            done |= REPLACE
    return done


def _forms(str prefix):
    """A prefix of the configuration as a raw path shows it and as a plain one does."""
    if prefix and not prefix.startswith("/"):
        prefix = "/" + prefix
    if any(c in " ?#" or ord(c) < 0x20 or ord(c) == 0x7F for c in prefix):
        raise ValueError(f"{prefix!r} is not a path prefix")
    raw = quote(prefix, safe=SAFE).encode().rstrip(b"/")
    return raw, unquote_to_bytes(raw)


@cython.final
cdef class PathRewriter:
    """Compiled `PathRewrite`. Prefixes end where a segment does: '/api' is one of '/api' and '/api/x', not of '/apix'.

    The raw path is cut where it says plainly what it names, so that the escapes behind the prefix stay as the client
    wrote them. Where only the plain form has the prefix (`/%61pi/x`, `/x/../api`), that form is cut and escaped anew:
    a route that matched by it must not reach the server unrewritten. A query stays, unless `set` brings one.
    """

    def __cinit__(self, rewrite):
        strip_raw, strip_plain = _forms(rewrite.strip_prefix)
        old, new = rewrite.replace_prefix or ("", "")
        old_raw, old_plain = _forms(old)
        new_raw, _ = _forms(new)
        if any(ord(c) <= 0x20 or ord(c) == 0x7F or c == "#" for c in rewrite.set):
            raise ValueError(f"{rewrite.set!r} is not a path")
        target = quote(rewrite.set, safe=SAFE + "?").encode()
        if target and not target.startswith(b"/"):
            raise ValueError(f"{rewrite.set!r} does not begin with '/'")
        self._keep = (strip_raw, strip_plain, old_raw, old_plain, new_raw, target)
        self.strip_raw, self.strip_raw_len = <const char*>self._keep[0], <uint32_t>len(strip_raw)
        self.strip_plain, self.strip_plain_len = <const char*>self._keep[1], <uint32_t>len(strip_plain)
        self.old_raw, self.old_raw_len = <const char*>self._keep[2], <uint32_t>len(old_raw)
        self.old_plain, self.old_plain_len = <const char*>self._keep[3], <uint32_t>len(old_plain)
        self.new_path, self.new_path_len = <const char*>self._keep[4], <uint32_t>len(new_raw)
        self.set_path, self.set_path_len = <const char*>self._keep[5], <uint32_t>len(target)
        self.sets_query = b"?" in target
        if strip_raw:
            self.steps |= STRIP
        if rewrite.replace_prefix:
            self.steps |= REPLACE
        if target:
            self.steps |= SET

    cdef char* write(self, char* o, const char* path, uint32_t n, char* scratch) noexcept:
        cdef:
            uint32_t at = 0, plain_at = 0
            int steps, plain_steps
            ssize_t plain = -1
            bint dots = False
            bint escaped = False
        if self.steps & SET:
            return put(o, self.set_path, self.set_path_len)
        steps = take_prefixes(self.steps, path, n, self.strip_raw, self.strip_raw_len,
                              self.old_raw, self.old_raw_len, &at)
        if not path_is_plain(path, n):
            plain = plain_path(path, n, scratch, &dots)
            if plain < 0:
                return NULL
            plain_steps = take_prefixes(self.steps, scratch, <uint32_t>plain, self.strip_plain, self.strip_plain_len,
                                        self.old_plain, self.old_plain_len, &plain_at)
            if plain_steps != steps or (dots and steps):
                escaped = True
                steps = plain_steps
        if steps == 0:
            return put(o, path, n)
        if escaped:
            path = scratch + plain_at
            n = <uint32_t>plain - plain_at
        else:
            path += at
            n -= at
        if steps & REPLACE:
            o = put(o, self.new_path, self.new_path_len)
        if n == 0:
            # '/' stands for the empty path, unless the replacement is a path already
            return o if steps & REPLACE and self.new_path_len else put_text(o, b"/")
        return o + escape_path(path, n, o) if escaped else put(o, path, n)
