/* The libssl that the interpreter's own ssl module uses, called directly: the functions are looked up in the process,
   so that building needs no headers of it and running no second copy. Contexts are made by Python; what is here is the
   path of bytes. Sources: OpenSSL manual pages SSL_new(3), BIO_meth_new(3), SSL_CTX_set_tlsext_ticket_key_evp_cb(3). */
#ifndef FASTLB_LIBSSL_H
#define FASTLB_LIBSSL_H

#include <stdint.h>
#include <stddef.h>

typedef struct ssl_st SSL;
typedef struct ssl_ctx_st SSL_CTX;
typedef struct ssl_session_st SSL_SESSION;
typedef struct ssl_cipher_st SSL_CIPHER;
typedef struct bio_st BIO;
typedef struct bio_method_st BIO_METHOD;
typedef struct x509_st X509;
typedef struct fl_evp_cipher_ctx EVP_CIPHER_CTX;
typedef struct fl_evp_cipher EVP_CIPHER;
typedef struct fl_evp_mac_ctx EVP_MAC_CTX;
typedef struct fl_verify_param X509_VERIFY_PARAM;

/* OSSL_PARAM of OpenSSL 3 (openssl/core.h): fixed by its ABI. */
typedef struct {
    const char* key;
    unsigned int data_type;
    void* data;
    size_t data_size;
    size_t return_size;
} fl_param;

enum {
    FL_SSL_WANT_READ = 2, FL_SSL_WANT_WRITE = 3, FL_SSL_ZERO_RETURN = 6,
    FL_CTRL_MODE = 33, FL_CTRL_NUM_RENEGOTIATIONS = 10, FL_CTRL_SESS_CACHE_MODE = 44, FL_CTRL_SESS_CACHE_SIZE = 42,
    FL_CTRL_SERVERNAME_CB = 53, FL_CTRL_SERVERNAME_ARG = 54, FL_CTRL_HOSTNAME = 55, FL_CTRL_TICKET_KEYS = 59,
    FL_CTRL_GROUPS_LIST = 92,
    FL_SESS_CACHE_OFF = 0, FL_SESS_CACHE_CLIENT = 1, FL_SESS_CACHE_SERVER = 2, FL_SESS_CACHE_NO_INTERNAL = 0x300,
    FL_MODE_PARTIAL_WRITE = 1, FL_MODE_MOVING_BUFFER = 2, FL_MODE_AUTO_RETRY = 4, FL_MODE_RELEASE_BUFFERS = 16,
    FL_TLSEXT_OK = 0, FL_TLSEXT_FATAL = 2, FL_TLSEXT_NOACK = 3,
    FL_AD_UNRECOGNIZED_NAME = 112, FL_EXT_SERVER_NAME = 0, FL_EXT_ALPN = 16,
    FL_R_NO_CERTIFICATE = 199,  /* SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE */
    FL_R_VERIFY_FAILED = 134,   /* SSL_R_CERTIFICATE_VERIFY_FAILED */
    FL_BIO_FLAGS_READ = 1, FL_BIO_FLAGS_RETRY = 8, FL_BIO_FLAGS_ALL = 0xf,
    FL_BIO_CTRL_FLUSH = 11, FL_BIO_CTRL_EOF = 2
};

#define FL_SSL_FUNCTIONS(X) \
    X(SSL*, SSL_new, (SSL_CTX*)) \
    X(void, SSL_free, (SSL*)) \
    X(void, SSL_set_bio, (SSL*, BIO*, BIO*)) \
    X(void, SSL_set_accept_state, (SSL*)) \
    X(void, SSL_set_connect_state, (SSL*)) \
    X(int, SSL_do_handshake, (SSL*)) \
    X(int, SSL_read, (SSL*, void*, int)) \
    X(int, SSL_write, (SSL*, const void*, int)) \
    X(int, SSL_get_error, (const SSL*, int)) \
    X(int, SSL_shutdown, (SSL*)) \
    X(void, SSL_set_shutdown, (SSL*, int)) \
    X(int, SSL_pending, (const SSL*)) \
    X(long, SSL_ctrl, (SSL*, int, long, void*)) \
    X(long, SSL_CTX_ctrl, (SSL_CTX*, int, long, void*)) \
    X(long, SSL_CTX_callback_ctrl, (SSL_CTX*, int, void (*)(void))) \
    X(uint64_t, SSL_CTX_get_options, (const SSL_CTX*)) \
    X(const char*, SSL_get_servername, (const SSL*, int)) \
    X(SSL_CTX*, SSL_set_SSL_CTX, (SSL*, SSL_CTX*)) \
    X(const char*, SSL_get_version, (const SSL*)) \
    X(const SSL_CIPHER*, SSL_get_current_cipher, (const SSL*)) \
    X(const char*, SSL_CIPHER_get_name, (const SSL_CIPHER*)) \
    X(int, SSL_session_reused, (const SSL*)) \
    X(X509*, SSL_get1_peer_certificate, (const SSL*)) \
    X(long, SSL_get_verify_result, (const SSL*)) \
    X(const char*, X509_verify_cert_error_string, (long)) \
    X(int, SSL_set_session, (SSL*, SSL_SESSION*)) \
    X(void, SSL_SESSION_free, (SSL_SESSION*)) \
    X(int, SSL_SESSION_is_resumable, (const SSL_SESSION*)) \
    X(int, SSL_CTX_set_session_id_context, (SSL_CTX*, const unsigned char*, unsigned int)) \
    X(void, SSL_CTX_set_verify_depth, (SSL_CTX*, int)) \
    X(SSL_CTX*, SSL_get_SSL_CTX, (const SSL*)) \
    X(void, SSL_CTX_set_client_hello_cb, (SSL_CTX*, int (*)(SSL*, int*, void*), void*)) \
    X(int, SSL_client_hello_get0_ext, (SSL*, unsigned int, const unsigned char**, size_t*)) \
    X(int, SSL_CTX_set_ciphersuites, (SSL_CTX*, const char*)) \
    X(int, SSL_CTX_set_tlsext_ticket_key_evp_cb, (SSL_CTX*, int (*)(SSL*, unsigned char*, unsigned char*, \
        EVP_CIPHER_CTX*, EVP_MAC_CTX*, int))) \
    X(void, SSL_CTX_sess_set_new_cb, (SSL_CTX*, int (*)(SSL*, SSL_SESSION*))) \
    X(int, SSL_set1_host, (SSL*, const char*)) \
    X(X509_VERIFY_PARAM*, SSL_get0_param, (SSL*)) \
    X(int, X509_VERIFY_PARAM_set1_ip_asc, (X509_VERIFY_PARAM*, const char*)) \
    X(void, SSL_get0_alpn_selected, (const SSL*, const unsigned char**, unsigned int*)) \
    X(int, SSL_set_ex_data, (SSL*, int, void*)) \
    X(void*, SSL_get_ex_data, (const SSL*, int)) \
    X(BIO_METHOD*, BIO_meth_new, (int, const char*)) \
    X(int, BIO_meth_set_write, (BIO_METHOD*, int (*)(BIO*, const char*, int))) \
    X(int, BIO_meth_set_read, (BIO_METHOD*, int (*)(BIO*, char*, int))) \
    X(int, BIO_meth_set_ctrl, (BIO_METHOD*, long (*)(BIO*, int, long, void*))) \
    X(BIO*, BIO_new, (const BIO_METHOD*)) \
    X(int, BIO_free, (BIO*)) \
    X(void, BIO_set_data, (BIO*, void*)) \
    X(void*, BIO_get_data, (BIO*)) \
    X(void, BIO_set_init, (BIO*, int)) \
    X(void, BIO_set_flags, (BIO*, int)) \
    X(void, BIO_clear_flags, (BIO*, int)) \
    X(void, ERR_clear_error, (void)) \
    X(unsigned long, ERR_peek_error, (void)) \
    X(const char*, ERR_reason_error_string, (unsigned long)) \
    X(int, i2d_X509, (const X509*, unsigned char**)) \
    X(void, X509_free, (X509*)) \
    X(int, EVP_EncryptInit_ex, (EVP_CIPHER_CTX*, const EVP_CIPHER*, void*, const unsigned char*, const unsigned char*)) \
    X(int, EVP_DecryptInit_ex, (EVP_CIPHER_CTX*, const EVP_CIPHER*, void*, const unsigned char*, const unsigned char*)) \
    X(const EVP_CIPHER*, EVP_aes_256_cbc, (void)) \
    X(int, EVP_MAC_CTX_set_params, (EVP_MAC_CTX*, const fl_param*)) \
    X(int, RAND_bytes, (unsigned char*, int))

#define FL_MEMBER(type, name, args) type (*name) args;
typedef struct { FL_SSL_FUNCTIONS(FL_MEMBER) } fl_libssl;

/* Session ticket keys of one worker, the current one first (RFC 5077 section 4: name, then keys). */
enum { FL_TICKET_KEY = 80, FL_TICKET_KEYS = 4 };
typedef struct {
    unsigned char keys[FL_TICKET_KEYS][FL_TICKET_KEY];   /* 16 name, 32 HMAC-SHA256, 32 AES-256 */
    int count;
} fl_tickets;

/* What the library reads from and writes to, one for all connections of a worker: valid inside one call only. */
typedef struct {
    const char* in;
    size_t in_left;
    char* out;
    size_t out_len, out_cap;
    fl_tickets tickets;
    void* current;              /* the connection whose call runs */
} fl_wire;

#endif
