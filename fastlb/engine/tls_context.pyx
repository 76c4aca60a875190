"""What TLS connections of one listener, or to one server, have in common: certificates, names, sessions, pace.

The ssl.SSLContext objects come from the control layer. Handshakes are the reactor's dear work: each step of one waits
for its turn behind the events of established connections, so that a flood of them costs these little. Where a limit is
set at most so many begin a second. What is over waits in order, and is dropped when its client leaves or its deadline
passes.
"""

import collections

from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport strcmp

from fastlb.engine.error_log cimport LEVEL_WARNING, ErrorLog
from fastlb.engine.failure cimport failure_because
from fastlb.engine.libssl cimport (
    FL_AD_UNRECOGNIZED_NAME, FL_CTRL_GROUPS_LIST, FL_CTRL_SERVERNAME_ARG, FL_CTRL_SERVERNAME_CB,
    FL_CTRL_SESS_CACHE_MODE, FL_CTRL_SESS_CACHE_SIZE, FL_EXT_ALPN, FL_EXT_SERVER_NAME, FL_SESS_CACHE_CLIENT,
    FL_SESS_CACHE_NO_INTERNAL, FL_SESS_CACHE_SERVER, FL_TLSEXT_FATAL, FL_TLSEXT_NOACK, FL_TLSEXT_OK, fl_wire, libssl,
    pointer_of, share_tickets)
from fastlb.engine.reactor cimport clear_deadline, set_deadline
from fastlb.engine.stats cimport (
    COUNT_HANDSHAKE_FULL, COUNT_HANDSHAKE_RESUMED, COUNT_HANDSHAKE_TIMEOUT, COUNT_TLS_1_2, private_counters)
from fastlb.engine.stream cimport STREAM_CLOSED, STREAM_READABLE

cdef enum:
    BURST = 8                   # handshakes that a rate lets through at once
    CACHED = 1024               # sessions a worker keeps for clients that know no tickets
    MOST_REASONS = 256          # for failed handshakes; libssl's texts, of which there are few
    COMPLAIN_MS = 60000

# Why a handshake failed -> the same in a sentence, kept for ever: exchanges refer to it.
cdef dict _reasons = {}


# An ALPN extension that names this protocol and no other
cdef bytes ACME_ALPN = b"\0\x0b\x0aacme-tls/1"


cdef class TlsLayer(Layer):
    """TLS of one connection; tls.pyx and tls_portable.pyx are the two kinds."""

    cdef bint ready(self) noexcept:
        return self.state >= TLS_ESTABLISHED

    cdef const char* version_text(self) noexcept:
        return NULL

    cdef const char* cipher_text(self) noexcept:
        return NULL

    cdef const char* name_text(self) noexcept:
        return NULL

    cdef void expired(self) noexcept:
        if self.server is not None and TLS_START < self.state < TLS_ESTABLISHED:
            self.server.failed(COUNT_HANDSHAKE_TIMEOUT)

    cdef object version(self):
        return None

    cdef object cipher(self):
        return None

    cdef object server_name(self):
        return None

    cdef bytes peer_certificate(self):
        return b""

    cdef bint resumed(self) noexcept:
        return False

    cdef bytes identity(self):
        cdef bytes der
        if self.words is None:
            try:
                der = self.peer_certificate() if self.server is not None and self.server.asks else b""
                self.words = self.server.describe(der) if der else b""
            except Exception:
                self.words = b""
        return self.words


cdef class TlsServer(EventHandler):
    """The TLS of one listener. It has no descriptor: it lives by its deadline."""

    def __init__(self, context not None, dict names=None, *, bint strict=False, bint asks=False, double handshake=0,
                 double head=0, double rate=0, bytes group=b"", describe=None):
        """`names`: server name, '*.' for one label, to ssl.SSLContext. `rate`: handshakes a second of this worker.

        `handshake`, and `head` after it: seconds, 0 = the listener's own for both. `group`: sessions made here are
        resumed by listeners of the same group alone; to be
        different wherever other clients are let in (RFC 5246 section 7.4.1.2, SSL_CTX_set_session_id_context(3)).
        """
        self.fd = -1
        self.context = context
        self.names = {name.encode(): one for name, one in (names or {}).items()}
        self.strict = strict
        self.asks = asks and describe is not None
        self.describe = describe
        self.handshake_ms = <uint32_t>min(handshake * 1000, 0x7fffffff)
        self.head_ms = <uint32_t>min(head * 1000, 0x7fffffff)
        self.gap_us = <uint64_t>(1000000 / rate) if rate > 0 else 0
        self.waiting = collections.deque()
        self.counters = private_counters()
        cdef const unsigned char* identity = group
        cdef SSL_CTX* pointer
        if libssl() == NULL:
            if self.names or strict:
                context.sni_callback = self._chosen
            return
        self.pointer = pointer_of(context)
        for one in {id(c): c for c in (context, *self.names.values())}.values():
            pointer = pointer_of(one)
            share_tickets(pointer)
            libssl().SSL_CTX_ctrl(pointer, FL_CTRL_SESS_CACHE_MODE, FL_SESS_CACHE_SERVER, NULL)
            libssl().SSL_CTX_ctrl(pointer, FL_CTRL_SESS_CACHE_SIZE, CACHED, NULL)
            if group:
                libssl().SSL_CTX_set_session_id_context(pointer, identity, min(len(group), 32))
        if self.names or strict:
            libssl().SSL_CTX_callback_ctrl(self.pointer, FL_CTRL_SERVERNAME_CB, <void (*)() noexcept>_server_name)
            libssl().SSL_CTX_ctrl(self.pointer, FL_CTRL_SERVERNAME_ARG, 0, <void*>self)

    def challenge(self, dict challenged):
        """Handshakes with ALPN acme-tls/1 alone get the certificate for their name (RFC 8737): name as bytes to
        ssl.SSLContext; an empty dict ends that. Raises OSError where libssl cannot be called directly."""
        if self.pointer == NULL:
            if challenged:
                raise OSError("needs libssl's own calls, which this interpreter does not offer")
            return
        self.challenged = challenged
        if challenged:
            libssl().SSL_CTX_set_client_hello_cb(self.pointer, _client_hello, <void*>self)
        else:
            libssl().SSL_CTX_set_client_hello_cb(self.pointer, NULL, NULL)

    cdef object choose(self, object name):
        """The context for a server name (bytes as the client sent them); None when no certificate covers it."""
        cdef object found
        name = name.lower().rstrip(b".")
        found = self.names.get(name)
        return found if found is not None else self.names.get(b"*." + name.partition(b".")[2])

    def _chosen(self, connection, name, _context):
        found = self.choose(name.encode("ascii", "replace")) if name else None
        if found is not None:
            connection.context = found
        elif self.strict:
            return FL_AD_UNRECOGNIZED_NAME
        return None

    # --- pace

    cdef bint _may(self, Core core) noexcept:
        cdef uint64_t now = core.reactor.now_us
        if self.next_us > now + BURST * self.gap_us:
            return False
        self.next_us = (self.next_us if self.next_us > now else now) + self.gap_us
        return True

    cdef void _wait(self, Core core) noexcept:
        if not self.armed:
            # The wheel holds no reference, and a reload may replace the listener's TLS meanwhile.
            self.armed = True
            Py_INCREF(self)
            set_deadline(core.reactor, self, (self.next_us - BURST * self.gap_us) // 1000 + 1)

    cdef bint admit(self, Stream s) noexcept:
        if self.gap_us == 0:
            return True
        try:
            if not self.waiting:
                if self._may(s.core):
                    return True
                self._wait(s.core)
            self.waiting.append(s)
            return False
        except Exception:
            return True                 # no memory for the queue

    cdef void failed(self, int why) noexcept:
        self.counters[why] += 1

    cdef void done(self, Stream s, TlsLayer layer) noexcept:
        cdef const char* version = layer.version_text()
        self.counters[COUNT_HANDSHAKE_RESUMED if layer.resumed() else COUNT_HANDSHAKE_FULL] += 1
        if version != NULL and strcmp(version, b"TLSv1.2") == 0:
            self.counters[COUNT_TLS_1_2] += 1
        if self.handshake_ms:
            if self.head_ms:
                set_deadline(s.core.reactor, s, s.core.reactor.now_ms + self.head_ms)
            else:
                clear_deadline(s)

    cdef void _pump(self) noexcept:
        cdef Stream s
        cdef Core core
        try:
            while self.waiting:
                s = self.waiting[0]
                core = s.core
                if not s.stream_flags & STREAM_CLOSED:
                    if not self._may(core):
                        self._wait(core)
                        return
                    (<TlsLayer>s.layer).state = TLS_HANDSHAKE
                    s.stream_flags |= STREAM_READABLE
                    if not core.reactor.queue(s, False):
                        core.reactor.defer(s)
                self.waiting.popleft()
        except Exception:
            pass

    cdef void on_timer(self) noexcept:
        self.armed = False
        self._pump()
        Py_DECREF(self)                 # the caller's own reference lasts through the call


cdef int _client_hello(SSL* s, int* alert, void* server) noexcept:
    """libssl's callback for every ClientHello, set while an ACME server wants to see something.

    The extensions' forms: RFC 7301 section 3.1, RFC 6066 section 3.
    """
    cdef const unsigned char* p
    cdef size_t n
    cdef TlsServer self = <TlsServer>server
    try:
        if libssl().SSL_client_hello_get0_ext(s, FL_EXT_ALPN, &p, &n) == 1 and p[:n] == ACME_ALPN and \
                libssl().SSL_client_hello_get0_ext(s, FL_EXT_SERVER_NAME, &p, &n) == 1 and n > 5:
            found = self.challenged.get((<bytes>p[5:n]).lower())
            if found is not None:
                libssl().SSL_set_SSL_CTX(s, pointer_of(found))
    except Exception:
        pass
    return 1


cdef int _server_name(void* s, int* alert, void* server) noexcept:
    """libssl's servername callback: switches to the certificate for the name that the client asks for."""
    cdef const char* name = libssl().SSL_get_servername(<SSL*>s, 0)
    cdef TlsServer self = <TlsServer>server
    if libssl().SSL_get_SSL_CTX(<SSL*>s) != self.pointer:
        return FL_TLSEXT_OK             # an ACME server's, see above
    try:
        if name != NULL:
            found = self.choose(<bytes>name)
            if found is not None:
                if found is not self.context:
                    libssl().SSL_set_SSL_CTX(<SSL*>s, pointer_of(found))
                return FL_TLSEXT_OK
        if self.strict:
            alert[0] = FL_AD_UNRECOGNIZED_NAME
            return FL_TLSEXT_FATAL
        return FL_TLSEXT_NOACK
    except Exception:
        return FL_TLSEXT_FATAL


cdef class TlsClient:
    """The TLS of connections to one server, and its last session."""

    def __init__(self, context not None, str name="", *, bint verify_name=True, bint is_address=False,
                 str who="a server"):
        """`name` is sent as the server name and must be in the certificate; an address is only checked.

        who: what the log calls the server.
        """
        self.context = context
        self.who = who
        self.name = name
        self.verify_name = verify_name
        self.is_address = is_address
        if libssl() == NULL:
            return
        self.pointer = pointer_of(context)
        libssl().SSL_CTX_ctrl(self.pointer, FL_CTRL_SESS_CACHE_MODE, FL_SESS_CACHE_CLIENT | FL_SESS_CACHE_NO_INTERNAL,
                              NULL)
        libssl().SSL_CTX_sess_set_new_cb(self.pointer, _new_session)

    def __dealloc__(self):
        if self.session != NULL:
            libssl().SSL_SESSION_free(self.session)

    cdef void keep(self, SSL_SESSION* session) noexcept:
        """Takes over the reference."""
        if self.session != NULL:
            libssl().SSL_SESSION_free(self.session)
        self.session = session

    cdef void failed(self, Stream s, str why) noexcept:
        cdef ErrorLog log = s.core.errors
        cdef uint64_t now = s.core.reactor.now_ms
        cdef bytes text
        try:
            text = _reasons.get(why)
            if text is None:
                text = f"TLS handshake with the server failed: {why}".encode()
                if len(_reasons) < MOST_REASONS:
                    _reasons[why] = text
                else:
                    text = b"TLS handshake with the server failed"
            failure_because(text)
            if log is None or (self.complaint == text and now - self.complained_ms < COMPLAIN_MS):
                return
            self.complaint, self.complained_ms = text, now
            text = f"TLS handshake with {self.who} failed: {why}".encode()
            log.log_text(LEVEL_WARNING, text, <uint32_t>len(text))
        except Exception:
            pass                        # out of memory: the connection has failed all the same


cdef int _new_session(SSL* s, SSL_SESSION* session) noexcept:
    cdef fl_wire* w = <fl_wire*>libssl().SSL_get_ex_data(s, 0)
    if w == NULL or w.current == NULL or (<TlsLayer>w.current).client is None:
        return 0
    (<TlsLayer>w.current).client.keep(session)
    return 1


def set_groups(context, str groups):
    """Curves and other groups of the key exchange, best first, as 'X25519:P-256'; False when libssl refuses them."""
    cdef bytes text = groups.encode()
    if libssl() == NULL:
        return len(groups.split(":")) == 1 and _one_curve(context, groups)
    return libssl().SSL_CTX_ctrl(pointer_of(context), FL_CTRL_GROUPS_LIST, 0, <void*><char*>text) == 1


def _one_curve(context, groups):
    try:
        context.set_ecdh_curve({"P-256": "prime256v1", "P-384": "secp384r1", "P-521": "secp521r1"}.get(groups, groups))
    except ValueError:
        return False
    return True


def set_ciphersuites(context, str suites):
    """Cipher suites of TLS 1.3, best first, as 'TLS_AES_128_GCM_SHA256:…'; False when libssl refuses them."""
    cdef bytes text = suites.encode()
    return libssl() != NULL and libssl().SSL_CTX_set_ciphersuites(pointer_of(context), text) == 1


def set_depth(context, int depth):
    """How many intermediate certificates a peer's chain may have; false where that cannot be set."""
    if libssl() == NULL:
        return False
    libssl().SSL_CTX_set_verify_depth(pointer_of(context), depth)
    return True
