"""Affinity: which server of a backend a client's requests go to.

A cookie of our own holds an identifier of the server: HMAC-SHA256 of backend and address under the operator's secret,
cut to 144 bits. Who does not know the secret can neither make one nor learn an address from it, so it needs no further
signature. With `max_idle` or `max_life` two dates and a tag follow, HMAC of identifier and dates cut to 128 bits.
Further secrets are still accepted, and replaced at the next answer: that is how a secret is changed.

An application's cookie, and any other key of a request, lead to the server through a stick table. There it stands by
its index in the shared region, which it keeps over reloads.
"""

import base64
import hashlib
import hmac

from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset
from fastlb._core.sha256 cimport fl_hmac_key, fl_hmac_short, fl_same_secret
from fastlb.engine.request_key cimport (
    KEY_COOKIE, KEY_HEADER, KEY_HOST, KEY_IP, KEY_PATH, KEY_QUERY, KEY_URI, find_key, mask_address)
from fastlb.engine.stick_table cimport key_hash
from fastlb.http.put cimport put

cdef enum:
    ID = 18                     # bytes of an identifier, 24 characters
    ID_TEXT = 24
    DATED = 42                  # with dates and tag
    DATED_TEXT = 56

KINDS = {"cookie": AFFINITY_COOKIE, "learn": AFFINITY_LEARN, "table": AFFINITY_TABLE}
KEYS = {"ip": KEY_IP, "path": KEY_PATH, "uri": KEY_URI, "host": KEY_HOST, "header": KEY_HEADER, "cookie": KEY_COOKIE,
        "query": KEY_QUERY}

cdef const char* ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
cdef uint8_t[256] DIGIT                 # value + 1, 0 = no digit
memset(DIGIT, 0, 256)
for _i in range(64):
    DIGIT[<uint8_t>ALPHABET[_i]] = <uint8_t>(_i + 1)


cdef bint decode(const char* p, size_t n, uint8_t* out) noexcept nogil:
    """Base64url (RFC 4648 section 5) of a multiple of four characters."""
    cdef uint32_t word
    cdef size_t i
    cdef int k
    for i in range(0, n, 4):
        word = 0
        for k in range(4):
            if DIGIT[<uint8_t>p[i + <size_t>k]] == 0:
                return False
            word = word << 6 | <uint32_t>(DIGIT[<uint8_t>p[i + <size_t>k]] - 1)
        out[0] = <uint8_t>(word >> 16)
        out[1] = <uint8_t>(word >> 8)
        out[2] = <uint8_t>word
        out += 3
    return True


cdef char* encode(char* o, const uint8_t* p, size_t n) noexcept nogil:
    cdef uint32_t word
    cdef size_t i
    for i in range(0, n, 3):
        word = <uint32_t>p[i] << 16 | <uint32_t>p[i + 1] << 8 | p[i + 2]
        o[0] = ALPHABET[word >> 18]
        o[1] = ALPHABET[word >> 12 & 63]
        o[2] = ALPHABET[word >> 6 & 63]
        o[3] = ALPHABET[word & 63]
        o += 4
    return o


cdef inline uint32_t read32(const uint8_t* p) noexcept nogil:
    return <uint32_t>p[0] << 24 | <uint32_t>p[1] << 16 | <uint32_t>p[2] << 8 | p[3]


cdef inline void write32(uint8_t* p, uint32_t v) noexcept nogil:
    p[0], p[1], p[2], p[3] = <uint8_t>(v >> 24), <uint8_t>(v >> 16), <uint8_t>(v >> 8), <uint8_t>v


cdef class Affinity:
    """How the clients of one backend are bound to its servers.

    rules: an `Affinity` of the spec; secrets: bytes, the first of which signs; backend: its name; servers: their
    addresses as text, in the order of their slots; indices: theirs in the shared region; table: of kinds that need one.
    """

    def __cinit__(self, rules, secrets, str backend, servers, indices, StickTable table=None):
        cdef int slot
        kind, _, name = rules.key.partition(":")
        self.kind = KINDS[rules.type]
        self.rebalance = rules.on_unavailable == "rebalance"
        self.name = rules.name.encode()
        self.key_kind = KEY_COOKIE if self.kind == AFFINITY_LEARN else KEYS[kind]
        self.key_name = (name.lower() if kind == "header" else name).encode()
        if self.kind == AFFINITY_LEARN:
            self.key_name = self.name
        self.prefix4, self.prefix6 = rules.ipv4_prefix, rules.ipv6_prefix
        self.max_idle, self.max_life = <uint32_t>rules.max_idle, <uint32_t>rules.max_life
        self.dated = self.max_idle > 0 or self.max_life > 0
        self.table = table
        self.count = len(servers)
        self.indices = <int32_t*>calloc(self.count + 1, sizeof(int32_t))
        if self.indices == NULL:
            raise MemoryError
        for slot in range(self.count):
            self.indices[slot] = indices[slot]
        self.low = min(indices, default=0)
        self.high = max(indices, default=-1) + 1
        self.slots = <int32_t*>calloc(self.high - self.low + 1, sizeof(int32_t))
        if self.slots == NULL:
            raise MemoryError
        for slot in range(self.count):
            self.slots[self.indices[slot] - self.low] = slot + 1
        if self.kind == AFFINITY_COOKIE:
            self._make_cookies(rules, secrets, backend, servers)

    def __dealloc__(self):
        free(self.indices)
        free(self.slots)
        free(self.ids)
        free(self.hmacs)

    def _make_cookies(self, rules, secrets, backend, servers):
        cdef bytes key, ident
        cdef uint32_t size = 4, at
        cdef int slot, secret
        while size < 2 * len(servers) * len(secrets) + 1:
            size *= 2
        self.mask = size - 1
        self.ids = <CookieId*>calloc(size, sizeof(CookieId))
        self.hmacs = <fl_hmac*>calloc(max(1, len(secrets)), sizeof(fl_hmac))
        if self.ids == NULL or self.hmacs == NULL:
            raise MemoryError
        for at in range(size):
            self.ids[at].slot = -1
        self.values = []
        for secret, given in enumerate(secrets):
            # Of any length, and no use for anything else than this backend's cookies.
            key = hashlib.sha256(b"fastlb affinity\0" + backend.encode() + b"\0" + given).digest()
            fl_hmac_key(&self.hmacs[secret], <const char*>key, len(key))
            for slot, address in enumerate(servers):
                ident = hmac.digest(key, b"server\0" + address.encode(), "sha256")[:ID]
                if secret == 0:
                    self.values.append(base64.urlsafe_b64encode(ident))
                at = read32(<const uint8_t*><const char*>ident) & self.mask
                while self.ids[at].slot >= 0:
                    at = (at + 1) & self.mask
                memcpy(self.ids[at].id, <const char*>ident, ID)
                self.ids[at].slot = slot
                self.ids[at].secret = <uint32_t>secret
        attributes = f"; Path={rules.path}" + (f"; Domain={rules.domain}" if rules.domain else "")
        attributes += f"; Max-Age={int(rules.max_age)}" if rules.max_age else ""
        attributes += ("; HttpOnly" if rules.http_only else "") + f"; SameSite={rules.same_site}"
        further = "\r\n" + ("Cache-Control: private\r\n" if rules.private else "")
        self.before = b"Set-Cookie: " + self.name + b"="
        self.after = (attributes + ("; Secure" if rules.secure == "always" else "") + further).encode()
        self.after_https = (attributes + ("; Secure" if rules.secure != "never" else "") + further).encode()

    cdef int find(self, Sticky* s, char* mark, const RequestHead* h, const char* base, const sockaddr* client,
                  uint64_t now_ms, uint32_t wall_s) noexcept:
        cdef unsigned char address[17]
        cdef const char* p
        cdef size_t n
        cdef int slot
        s.wanted = -1
        if self.kind == AFFINITY_COOKIE:
            mark[0] = c'N'
            p = find_key(KEY_COOKIE, self.name, <size_t>len(self.name), h, base, client, &n)
            if p != NULL:
                s.wanted = self._read_cookie(s, mark, p, n, wall_s)
            return s.wanted
        p = find_key(self.key_kind, self.key_name, <size_t>len(self.key_name), h, base, client, &n)
        if self.kind == AFFINITY_LEARN:
            mark[0] = c'N' if p == NULL or n == 0 else c'I'
        if p == NULL or n == 0:
            return -1
        if self.key_kind == KEY_IP:
            n = mask_address(address, <const unsigned char*>p, n, self.prefix4, self.prefix6)
            p = <const char*>address
        else:
            s.text.off = <uint32_t>(p - base)
            s.text.len = <uint32_t>n
        s.key = key_hash(p, n)
        slot = self.slot_of(self.table.find(s.key, now_ms))
        s.wanted = slot
        if slot >= 0 and self.kind == AFFINITY_LEARN:
            mark[0] = c'V'
        return slot

    cdef int _read_cookie(self, Sticky* s, char* mark, const char* p, size_t n, uint32_t wall_s) noexcept:
        cdef uint8_t raw[DATED]
        cdef uint8_t tag[32]
        cdef uint32_t at, last
        cdef CookieId* found
        mark[0] = c'I'
        if (n != ID_TEXT and n != DATED_TEXT) or not decode(p, n, raw):
            return -1
        at = read32(raw) & self.mask
        while True:
            found = &self.ids[at]
            if found.slot < 0:
                return -1
            if fl_same_secret(found.id, raw, ID):
                break
            at = (at + 1) & self.mask
        s.renew = found.secret != 0
        if self.dated:
            if n != DATED_TEXT:
                return -1               # from before there were dates: how old it is cannot be told
            fl_hmac_short(&self.hmacs[found.secret], raw, ID + 8, tag)
            if not fl_same_secret(tag, &raw[ID + 8], 16):
                return -1
            s.first = read32(&raw[ID])
            last = read32(&raw[ID + 4])
            if self.max_life and wall_s > s.first and wall_s - s.first > self.max_life:
                mark[0] = c'O'
                s.first = 0
                return -1
            if self.max_idle and wall_s > last and wall_s - last > self.max_idle:
                mark[0] = c'E'
                s.first = 0
                return -1
            if self.max_idle and wall_s > last and wall_s - last > self.max_idle // 16:
                s.renew = True
        mark[0] = c'V'
        return found.slot

    cdef size_t write_cookie(self, char* out, size_t cap, int slot, uint32_t first, uint32_t wall_s,
                             bint https) noexcept:
        cdef uint8_t raw[DATED]
        cdef uint8_t tag[32]
        cdef bytes value = self.values[slot]
        cdef bytes after = self.after_https if https else self.after
        cdef char* o = out
        if cap < <size_t>(len(self.before) + len(after)) + DATED_TEXT:
            return 0
        o = put(o, self.before, <size_t>len(self.before))
        if self.dated:
            decode(value, ID_TEXT, raw)
            write32(&raw[ID], first if first else wall_s)
            write32(&raw[ID + 4], wall_s)
            fl_hmac_short(&self.hmacs[0], raw, ID + 8, tag)
            memcpy(&raw[ID + 8], tag, 16)
            o = encode(o, raw, DATED)
        else:
            o = put(o, value, ID_TEXT)
        o = put(o, after, <size_t>len(after))
        return <size_t>(o - out)

    cdef int slot_of(self, int index) noexcept:
        if index < self.low or index >= self.high:
            return -1
        return self.slots[index - self.low] - 1

    cdef int claim(self, uint64_t key, int slot, const char* text, size_t n, uint64_t now_ms) noexcept:
        cdef int index = self.table.claim(key, self.indices[slot], text, n, now_ms)
        cdef int found = self.slot_of(index)
        if found < 0:                   # bound to a server that is no longer there
            self.table.bind(key, self.indices[slot], text, n, now_ms)
            found = slot
        return found

    cdef void bind(self, uint64_t key, int slot, const char* text, size_t n, uint64_t now_ms) noexcept:
        self.table.bind(key, self.indices[slot], text, n, now_ms)

    # --- for tests

    def cookie(self, int slot, int wall_s, *, int first=0, bint https=False):
        """The lines that a client of `slot` gets at `wall_s`."""
        cdef char[2048] out
        return (<char*>out)[:self.write_cookie(out, sizeof(out), slot, <uint32_t>first, <uint32_t>wall_s, https)]

    def read(self, bytes value not None, int wall_s):
        """(slot or -1, letter, whether it is to be renewed) of a cookie's value."""
        cdef Sticky s
        cdef char mark = c'-'
        memset(&s, 0, sizeof(s))
        slot = self._read_cookie(&s, &mark, value, len(value), <uint32_t>wall_s)
        return slot, chr(mark), bool(s.renew)
