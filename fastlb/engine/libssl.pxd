# The libssl of the interpreter's ssl module, called directly. Its absence is a fact to reckon with: an interpreter may
# have it built in without its names.
from libc.stdint cimport uint64_t

cdef extern from "libssl.h" nogil:
    ctypedef struct SSL:
        pass
    ctypedef struct SSL_CTX:
        pass
    ctypedef struct SSL_SESSION:
        pass
    ctypedef struct SSL_CIPHER:
        pass
    ctypedef struct BIO:
        pass
    ctypedef struct BIO_METHOD:
        pass
    ctypedef struct X509:
        pass
    ctypedef struct X509_VERIFY_PARAM:
        pass
    enum:
        FL_SSL_WANT_READ
        FL_SSL_WANT_WRITE
        FL_SSL_ZERO_RETURN
        FL_CTRL_MODE
        FL_CTRL_SESS_CACHE_MODE
        FL_CTRL_SESS_CACHE_SIZE
        FL_CTRL_SERVERNAME_CB
        FL_CTRL_SERVERNAME_ARG
        FL_CTRL_HOSTNAME
        FL_CTRL_TICKET_KEYS
        FL_CTRL_GROUPS_LIST
        FL_SESS_CACHE_OFF
        FL_SESS_CACHE_CLIENT
        FL_SESS_CACHE_SERVER
        FL_SESS_CACHE_NO_INTERNAL
        FL_MODE_MOVING_BUFFER
        FL_MODE_AUTO_RETRY
        FL_MODE_RELEASE_BUFFERS
        FL_TLSEXT_OK
        FL_TLSEXT_FATAL
        FL_TLSEXT_NOACK
        FL_AD_UNRECOGNIZED_NAME
        FL_EXT_SERVER_NAME
        FL_EXT_ALPN
        FL_R_NO_CERTIFICATE
        FL_R_VERIFY_FAILED
        FL_TICKET_KEY
        FL_TICKET_KEYS
    ctypedef struct fl_libssl:
        SSL* (*SSL_new)(SSL_CTX*) noexcept
        void (*SSL_free)(SSL*) noexcept
        void (*SSL_set_bio)(SSL*, BIO*, BIO*) noexcept
        void (*SSL_set_accept_state)(SSL*) noexcept
        void (*SSL_set_connect_state)(SSL*) noexcept
        int (*SSL_do_handshake)(SSL*) noexcept
        int (*SSL_read)(SSL*, void*, int) noexcept
        int (*SSL_write)(SSL*, const void*, int) noexcept
        int (*SSL_get_error)(const SSL*, int) noexcept
        int (*SSL_shutdown)(SSL*) noexcept
        void (*SSL_set_shutdown)(SSL*, int) noexcept
        int (*SSL_pending)(const SSL*) noexcept
        long (*SSL_ctrl)(SSL*, int, long, void*) noexcept
        long (*SSL_CTX_ctrl)(SSL_CTX*, int, long, void*) noexcept
        long (*SSL_CTX_callback_ctrl)(SSL_CTX*, int, void (*)() noexcept) noexcept
        uint64_t (*SSL_CTX_get_options)(const SSL_CTX*) noexcept
        const char* (*SSL_get_servername)(const SSL*, int) noexcept
        SSL_CTX* (*SSL_set_SSL_CTX)(SSL*, SSL_CTX*) noexcept
        const char* (*SSL_get_version)(const SSL*) noexcept
        const SSL_CIPHER* (*SSL_get_current_cipher)(const SSL*) noexcept
        const char* (*SSL_CIPHER_get_name)(const SSL_CIPHER*) noexcept
        int (*SSL_session_reused)(const SSL*) noexcept
        X509* (*SSL_get1_peer_certificate)(const SSL*) noexcept
        long (*SSL_get_verify_result)(const SSL*) noexcept
        const char* (*X509_verify_cert_error_string)(long) noexcept
        int (*SSL_set_session)(SSL*, SSL_SESSION*) noexcept
        void (*SSL_SESSION_free)(SSL_SESSION*) noexcept
        int (*SSL_SESSION_is_resumable)(const SSL_SESSION*) noexcept
        int (*SSL_CTX_set_session_id_context)(SSL_CTX*, const unsigned char*, unsigned int) noexcept
        void (*SSL_CTX_set_verify_depth)(SSL_CTX*, int) noexcept
        SSL_CTX* (*SSL_get_SSL_CTX)(const SSL*) noexcept
        void (*SSL_CTX_set_client_hello_cb)(SSL_CTX*, int (*)(SSL*, int*, void*) noexcept, void*) noexcept
        int (*SSL_client_hello_get0_ext)(SSL*, unsigned int, const unsigned char**, size_t*) noexcept
        int (*SSL_CTX_set_ciphersuites)(SSL_CTX*, const char*) noexcept
        void (*SSL_CTX_sess_set_new_cb)(SSL_CTX*, int (*)(SSL*, SSL_SESSION*) noexcept) noexcept
        int (*SSL_set1_host)(SSL*, const char*) noexcept
        X509_VERIFY_PARAM* (*SSL_get0_param)(SSL*) noexcept
        int (*X509_VERIFY_PARAM_set1_ip_asc)(X509_VERIFY_PARAM*, const char*) noexcept
        void (*SSL_get0_alpn_selected)(const SSL*, const unsigned char**, unsigned int*) noexcept
        int (*SSL_set_ex_data)(SSL*, int, void*) noexcept
        void* (*SSL_get_ex_data)(const SSL*, int) noexcept
        int (*BIO_free)(BIO*) noexcept
        void (*ERR_clear_error)() noexcept
        unsigned long (*ERR_peek_error)() noexcept
        const char* (*ERR_reason_error_string)(unsigned long) noexcept
        int (*i2d_X509)(const X509*, unsigned char**) noexcept
        void (*X509_free)(X509*) noexcept
    ctypedef struct fl_tickets:
        unsigned char keys[4][80]
        int count
    # What the library reads from and writes to, one for all connections of a worker.
    ctypedef struct fl_wire:
        const char* in_ "in"
        size_t in_left
        char* out
        size_t out_len
        size_t out_cap
        fl_tickets tickets
        void* current

# The functions, or NULL when they cannot be had; the first call looks.
cdef const fl_libssl* libssl() noexcept
# The SSL_CTX of an ssl.SSLContext. Only where libssl() gave something.
cdef SSL_CTX* pointer_of(object context) noexcept
# NULL when out of memory.
cdef fl_wire* wire_new() noexcept
cdef void wire_free(fl_wire* w) noexcept
# A connection over the worker's wire, which is its ex_data 0; NULL when out of memory.
cdef SSL* ssl_over(SSL_CTX* context, fl_wire* w, bint server) noexcept
# Frees it; its session stays good for others (SSL_free alone would have it forgotten, the connection not being shut).
cdef void ssl_close(SSL* s) noexcept
# Tickets of this context are made and read with the keys of the connection's wire.
cdef void share_tickets(SSL_CTX* context) noexcept
