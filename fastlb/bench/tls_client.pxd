# The generator's TLS: the libssl of the interpreter's own ssl module, called directly over the socket. Looked up in
# the process, so that building needs no headers of it. Sources: SSL_CTX_new(3), SSL_set_fd(3), SSL_get1_session(3).

cdef extern from * nogil:
    """
    #include <dlfcn.h>
    #include <errno.h>
    #include <stddef.h>
    #include <sys/types.h>
    #define BENCH_TLS(X) \
        X(const void*, TLS_client_method, (void)) \
        X(void*, SSL_CTX_new, (const void*)) \
        X(void, SSL_CTX_free, (void*)) \
        X(long, SSL_CTX_ctrl, (void*, int, long, void*)) \
        X(void*, SSL_new, (void*)) \
        X(void, SSL_free, (void*)) \
        X(int, SSL_set_fd, (void*, int)) \
        X(void, SSL_set_connect_state, (void*)) \
        X(long, SSL_ctrl, (void*, int, long, void*)) \
        X(int, SSL_read, (void*, void*, int)) \
        X(int, SSL_write, (void*, const void*, int)) \
        X(int, SSL_get_error, (const void*, int)) \
        X(void, SSL_set_shutdown, (void*, int)) \
        X(void*, SSL_get1_session, (void*)) \
        X(int, SSL_set_session, (void*, void*)) \
        X(int, SSL_session_reused, (const void*)) \
        X(void, SSL_SESSION_free, (void*)) \
        X(void, ERR_clear_error, (void))
    #define BENCH_MEMBER(type, name, args) type (*name) args;
    static struct { BENCH_TLS(BENCH_MEMBER) } bench_ssl;
    /* From the module `path` and what it was linked with; NULL = from the program itself. */
    static int bench_ssl_find(const char* path)
    { void* from = dlopen(path, RTLD_NOW);
      if (from == NULL) return 0;
    #define BENCH_FIND(type, name, args) if (!(*(void**)&bench_ssl.name = dlsym(from, #name))) return 0;
      BENCH_TLS(BENCH_FIND)
      return 1; }
    static void* bench_ssl_context(void)
    { void* context = bench_ssl.SSL_CTX_new(bench_ssl.TLS_client_method());
      if (context != NULL) {
          bench_ssl.SSL_CTX_ctrl(context, 33, 1 | 2, NULL);   /* SSL_MODE_ENABLE_PARTIAL_WRITE, moving buffer */
          bench_ssl.SSL_CTX_ctrl(context, 44, 1 | 0x300, NULL); } /* client sessions, kept by us */
      return context; }
    static void* bench_ssl_open(void* context, int fd, const char* host, void* session)
    { void* s = bench_ssl.SSL_new(context);
      if (s == NULL) return NULL;
      bench_ssl.SSL_set_fd(s, fd);
      bench_ssl.SSL_ctrl(s, 55, 0, (void*)host);              /* server name */
      bench_ssl.SSL_set_connect_state(s);
      if (session != NULL) bench_ssl.SSL_set_session(s, session);
      return s; }
    /* As if shut down: else the library would have its session forgotten. */
    static void bench_ssl_close(void* s) { bench_ssl.SSL_set_shutdown(s, 3); bench_ssl.SSL_free(s); }
    static ssize_t bench_ssl_result(void* s, int n)
    { int why;
      if (n > 0) return n;
      why = bench_ssl.SSL_get_error(s, n);
      if (why == 2 || why == 3) { errno = EAGAIN; return -1; } /* wants to read or write */
      bench_ssl.ERR_clear_error();
      if (why == 6) return 0;                                 /* the peer said that it is the end */
      errno = EPROTO;
      return -1; }
    static ssize_t bench_ssl_send(void* s, const void* from, size_t n)
    { return bench_ssl_result(s, bench_ssl.SSL_write(s, from, n > 1 << 30 ? 1 << 30 : (int)n)); }
    static ssize_t bench_ssl_recv(void* s, void* to, size_t n)
    { return bench_ssl_result(s, bench_ssl.SSL_read(s, to, n > 1 << 30 ? 1 << 30 : (int)n)); }
    /* The session of `s` in place of `old`; 0 when `s` had been given `old` and the server did not take it. */
    static int bench_ssl_keep(void* s, void** old)
    { int as_asked = *old == NULL || bench_ssl.SSL_session_reused(s);
      if (*old != NULL) bench_ssl.SSL_SESSION_free(*old);
      *old = bench_ssl.SSL_get1_session(s);
      return as_asked; }
    static void bench_ssl_forget(void* session) { if (session != NULL) bench_ssl.SSL_SESSION_free(session); }
    static void bench_ssl_context_free(void* context) { if (context != NULL) bench_ssl.SSL_CTX_free(context); }
    """
    bint bench_ssl_find(const char* path)
    void* bench_ssl_context()
    void* bench_ssl_open(void* context, int fd, const char* host, void* session)
    void bench_ssl_close(void* s)
    ssize_t bench_ssl_send(void* s, const void* data, size_t n)
    ssize_t bench_ssl_recv(void* s, void* to, size_t n)
    bint bench_ssl_keep(void* s, void** old)
    void bench_ssl_forget(void* session)
    void bench_ssl_context_free(void* context)
