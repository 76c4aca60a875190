"""The libssl of the interpreter's ssl module, called directly.

Contexts, certificates and options are made by the standard library; bytes and tickets go past it, because it has no
call for ticket keys and costs an object for each buffer. Where the library's names cannot be had, or the test at the
start fails, `problem()` says so and TLS runs over ssl.MemoryBIO (tls_portable.pyx).
"""

import os
import ssl
import sys

from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

cdef extern from "libssl_wire.h" nogil:
    fl_libssl fl_ssl
    const char* fl_ssl_load(const char* path)
    BIO_METHOD* fl_wire_method()
    int fl_share_tickets(SSL_CTX* context)
    BIO* fl_wire_bio(BIO_METHOD* method, fl_wire* w)

cdef enum:
    WIRE_OUT = 90112            # 64 KB of plaintext in records, a flight of handshake messages

# Where SSL_CTX* is the first member behind the object's head (Modules/_ssl.c, PySSLContext).
KNOWN = ((3, 11), (3, 12), (3, 13), (3, 14))

cdef bint _looked = False
cdef bint _usable = False
cdef BIO_METHOD* _method = NULL
_problem = ""

cdef struct ContextHead:        # PySSLContext
    Py_ssize_t references
    void* type
    SSL_CTX* context


cdef const fl_libssl* libssl() noexcept:
    global _looked, _usable, _problem
    if not _looked:
        _looked = True
        try:
            _problem = _find()
        except Exception as error:
            _problem = f"{type(error).__name__}: {error}"
        _usable = not _problem
    return &fl_ssl if _usable else NULL


def problem():
    """Why libssl is not called directly, '' when it is."""
    libssl()
    return _problem


cdef str _find():
    global _method
    cdef bytes path
    cdef const char* missing
    if os.environ.get("FASTLB_TLS") == "portable":
        return "FASTLB_TLS=portable"
    if sys.implementation.name != "cpython" or sys.version_info[:2] not in KNOWN or hasattr(sys, "_is_gil_enabled") \
            and not sys._is_gil_enabled():
        return "unknown interpreter"
    if ssl.OPENSSL_VERSION_INFO[0] != 3:
        return f"{ssl.OPENSSL_VERSION} is not OpenSSL 3"
    import _ssl
    file = getattr(_ssl, "__file__", None)
    if file is None:
        missing = fl_ssl_load(NULL)
    else:
        path = os.fsencode(file)
        missing = fl_ssl_load(path)
    if missing != NULL:
        return f"{(<bytes>missing).decode()} is not to be found"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for options in (ssl.OP_ALL | ssl.OP_NO_TICKET, ssl.OP_ALL | ssl.OP_NO_RENEGOTIATION):
        context.options = options
        if fl_ssl.SSL_CTX_get_options(pointer_of(context)) & 0xffffffff != int(context.options) & 0xffffffff:
            return "the layout of ssl.SSLContext is another one"
    _method = fl_wire_method()
    if _method == NULL:
        return "out of memory"
    if not _tickets_work():
        return "sessions made in one context were not resumed in another"
    return ""


cdef SSL_CTX* pointer_of(object context) noexcept:
    return (<ContextHead*><void*>context).context


cdef fl_wire* wire_new() noexcept:
    cdef fl_wire* w = <fl_wire*>calloc(1, sizeof(fl_wire))
    if w == NULL:
        return NULL
    w.out = <char*>malloc(WIRE_OUT)
    w.out_cap = WIRE_OUT
    if w.out == NULL:
        free(w)
        return NULL
    return w


cdef void wire_free(fl_wire* w) noexcept:
    if w != NULL:
        free(w.out)
        free(w)


cdef SSL* ssl_over(SSL_CTX* context, fl_wire* w, bint server) noexcept:
    cdef SSL* s
    cdef BIO* bio
    bio = fl_wire_bio(_method, w)
    if bio == NULL:
        return NULL
    s = fl_ssl.SSL_new(context)
    if s == NULL:
        fl_ssl.BIO_free(bio)
        return NULL
    fl_ssl.SSL_set_bio(s, bio, bio)
    fl_ssl.SSL_set_ex_data(s, 0, w)
    fl_ssl.SSL_ctrl(s, FL_CTRL_MODE, FL_MODE_MOVING_BUFFER | FL_MODE_AUTO_RETRY | FL_MODE_RELEASE_BUFFERS, NULL)
    if server:
        fl_ssl.SSL_set_accept_state(s)
    else:
        fl_ssl.SSL_set_connect_state(s)
    return s


cdef void ssl_close(SSL* s) noexcept:
    if s != NULL:
        fl_ssl.SSL_set_shutdown(s, 3)
        fl_ssl.SSL_free(s)


cdef void share_tickets(SSL_CTX* context) noexcept:
    fl_share_tickets(context)


# --- the test at the start

cdef SSL_SESSION* _seen = NULL


cdef int _keep_session(SSL* s, SSL_SESSION* session) noexcept:
    global _seen
    if _seen != NULL:
        fl_ssl.SSL_SESSION_free(_seen)
    _seen = session
    return 1


cdef bint _handshake(SSL* client, fl_wire* cw, SSL* server, fl_wire* sw) noexcept:
    """Between two connections in memory; false when it fails."""
    cdef int _turn, c, s
    cdef char carried[32768]
    cdef size_t n
    for _turn in range(8):
        c = fl_ssl.SSL_do_handshake(client)
        n = min(cw.out_len, sizeof(carried))
        memcpy(carried, cw.out, n)
        cw.out_len = 0
        feed(sw, carried, n)
        s = fl_ssl.SSL_do_handshake(server)
        if c == 1 and s == 1:
            return True
        n = min(sw.out_len, sizeof(carried))
        memcpy(carried, sw.out, n)
        sw.out_len = 0
        feed(cw, carried, n)
        if c != 1:
            c = fl_ssl.SSL_do_handshake(client)
        if c == 1 and s == 1:
            return True
    return False


cdef inline void feed(fl_wire* w, const char* p, size_t n) noexcept:
    w.in_ = p
    w.in_left = n


cdef bint _tickets_work() except? False:
    """A session made by one context is resumed by another that knows the same keys (anonymous, so without files)."""
    cdef fl_wire* cw = wire_new()
    cdef fl_wire* sw = wire_new()
    cdef SSL* c
    cdef SSL* s
    cdef int turn
    cdef bint good = cw != NULL and sw != NULL
    cdef bytes key = os.urandom(FL_TICKET_KEY)
    global _seen
    if good:
        memcpy(sw.tickets.keys[0], <const char*>key, FL_TICKET_KEY)
        sw.tickets.count = 1
    client = _anonymous(ssl.PROTOCOL_TLS_CLIENT)
    fl_ssl.SSL_CTX_ctrl(pointer_of(client), FL_CTRL_SESS_CACHE_MODE, FL_SESS_CACHE_CLIENT | FL_SESS_CACHE_NO_INTERNAL,
                        NULL)
    fl_ssl.SSL_CTX_sess_set_new_cb(pointer_of(client), _keep_session)
    for turn in range(2):
        if not good:
            break
        server = _anonymous(ssl.PROTOCOL_TLS_SERVER)
        share_tickets(pointer_of(server))
        cw.in_left = sw.in_left = cw.out_len = sw.out_len = 0
        c = ssl_over(pointer_of(client), cw, False)
        s = ssl_over(pointer_of(server), sw, True)
        good = c != NULL and s != NULL
        if good and turn == 1:
            good = _seen != NULL and fl_ssl.SSL_set_session(c, _seen) == 1
        if good:
            good = _handshake(c, cw, s, sw) and fl_ssl.SSL_session_reused(s) == turn
        ssl_close(c)
        ssl_close(s)
    if _seen != NULL:
        fl_ssl.SSL_SESSION_free(_seen)
        _seen = NULL
    wire_free(cw)
    wire_free(sw)
    fl_ssl.ERR_clear_error()
    return good


def _anonymous(protocol):
    context = ssl.SSLContext(protocol)
    if protocol == ssl.PROTOCOL_TLS_CLIENT:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AECDH-AES128-SHA:@SECLEVEL=0")
    return context
