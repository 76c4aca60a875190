/* The table of libssl's functions, and what they call back: memory instead of a socket, ticket keys. For libssl.pyx
   alone: the table is static. */
#ifndef FASTLB_LIBSSL_WIRE_H
#define FASTLB_LIBSSL_WIRE_H

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include "libssl.h"

static fl_libssl fl_ssl;

/* NULL when all functions were found, else the name of the first that was not. `path` is the file of the _ssl module,
   NULL where that is built into the interpreter. */
static const char* fl_ssl_load(const char* path) {
    void* handle = dlopen(path, RTLD_LAZY | RTLD_NOLOAD);
    if (handle == NULL)
        return "_ssl";
#define FL_FIND(type, name, args) \
    *(void**)&fl_ssl.name = dlsym(handle, #name); \
    if (fl_ssl.name == NULL) \
        return #name;
    FL_SSL_FUNCTIONS(FL_FIND)
    return NULL;
}

static int fl_wire_read(BIO* b, char* buf, int n) {
    fl_wire* w = (fl_wire*)fl_ssl.BIO_get_data(b);
    fl_ssl.BIO_clear_flags(b, FL_BIO_FLAGS_ALL);
    if (w->in_left == 0) {
        fl_ssl.BIO_set_flags(b, FL_BIO_FLAGS_READ | FL_BIO_FLAGS_RETRY);
        return -1;
    }
    if (n > 0 && (size_t)n > w->in_left)
        n = (int)w->in_left;
    memcpy(buf, w->in, n);
    w->in += n;
    w->in_left -= n;
    return n;
}

static int fl_wire_write(BIO* b, const char* buf, int n) {
    fl_wire* w = (fl_wire*)fl_ssl.BIO_get_data(b);
    fl_ssl.BIO_clear_flags(b, FL_BIO_FLAGS_ALL);
    if (n <= 0)
        return 0;
    if (w->out_len + n > w->out_cap) {
        /* Only long certificate chains come here: what connections send is cut into pieces that fit. */
        size_t cap = w->out_cap * 2 + n;
        char* grown = (char*)realloc(w->out, cap);
        if (grown == NULL)
            return -1;
        w->out = grown;
        w->out_cap = cap;
    }
    memcpy(w->out + w->out_len, buf, n);
    w->out_len += n;
    return n;
}

static long fl_wire_ctrl(BIO* b, int command, long number, void* pointer) {
    return command == FL_BIO_CTRL_FLUSH;
}

static BIO_METHOD* fl_wire_method(void) {
    BIO_METHOD* m = fl_ssl.BIO_meth_new(0x80 | 0x400, "fastlb wire");   /* BIO_TYPE_SOURCE_SINK, a number of ours */
    if (m != NULL) {
        fl_ssl.BIO_meth_set_read(m, fl_wire_read);
        fl_ssl.BIO_meth_set_write(m, fl_wire_write);
        fl_ssl.BIO_meth_set_ctrl(m, fl_wire_ctrl);
    }
    return m;
}

/* Encrypts with the current key, decrypts with any. A ticket of an older key is renewed, and in TLS 1.3 every one: there
   clients use a ticket once (RFC 8446 appendix C.4), so one that got no new one could not resume the next time. The
   connection's ex_data 0 is its worker's wire. */
static int fl_ticket_key(SSL* s, unsigned char* name, unsigned char* iv, EVP_CIPHER_CTX* cipher, EVP_MAC_CTX* mac,
                         int encrypt) {
    fl_wire* w = (fl_wire*)fl_ssl.SSL_get_ex_data(s, 0);
    fl_param params[3];
    int i = 0;
    if (w == NULL || w->tickets.count == 0)
        return 0;
    if (encrypt) {
        if (fl_ssl.RAND_bytes(iv, 16) != 1)
            return -1;
        memcpy(name, w->tickets.keys[0], 16);
    } else {
        while (i < w->tickets.count && memcmp(name, w->tickets.keys[i], 16) != 0)
            i++;
        if (i == w->tickets.count)
            return 0;                                       /* not ours, or too old: a full handshake */
    }
    memset(params, 0, sizeof(params));
    params[0].key = "key";
    params[0].data_type = 5;                                /* OSSL_PARAM_OCTET_STRING */
    params[0].data = w->tickets.keys[i] + 16;
    params[0].data_size = 32;
    params[0].return_size = (size_t)-1;
    params[1].key = "digest";
    params[1].data_type = 4;                                /* OSSL_PARAM_UTF8_STRING */
    params[1].data = (void*)"SHA256";
    params[1].data_size = 6;
    params[1].return_size = (size_t)-1;
    if (fl_ssl.EVP_MAC_CTX_set_params(mac, params) != 1)
        return -1;
    if ((encrypt ? fl_ssl.EVP_EncryptInit_ex : fl_ssl.EVP_DecryptInit_ex)(
            cipher, fl_ssl.EVP_aes_256_cbc(), NULL, w->tickets.keys[i] + 48, iv) != 1)
        return -1;
    return encrypt || (i == 0 && strcmp(fl_ssl.SSL_get_version(s), "TLSv1.3") != 0) ? 1 : 2;
}

static BIO* fl_wire_bio(BIO_METHOD* method, fl_wire* w) {
    BIO* b = fl_ssl.BIO_new(method);
    if (b != NULL) {
        fl_ssl.BIO_set_data(b, w);
        fl_ssl.BIO_set_init(b, 1);
    }
    return b;
}

static int fl_share_tickets(SSL_CTX* context) {
    return fl_ssl.SSL_CTX_set_tlsext_ticket_key_evp_cb(context, fl_ticket_key);
}

#endif
