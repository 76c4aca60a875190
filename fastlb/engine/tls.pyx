"""TLS between a stream and the kernel, by libssl over the worker's memory.

Certificates, protocol versions, ALPN and names are the contexts' business (tls_context.pyx). The layer moves ciphertext
between the socket and libssl through buffers that all connections of the worker share, so an idle connection holds
nothing but libssl's own object. The handshake runs inside `receive`: the connection above sees bytes, or that there are
none yet, and knows no other state.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.stdlib cimport malloc
from libc.string cimport memcpy
from fastlb.engine.buffer cimport chunk_free, chunk_new
from fastlb.engine.core cimport CIPHER_SIZE, HEAD_OUT, READ_ROUNDS, READ_SIZE
from fastlb.engine.libssl cimport (
    FL_CTRL_HOSTNAME, FL_R_NO_CERTIFICATE, FL_R_VERIFY_FAILED, FL_SSL_WANT_READ, FL_SSL_ZERO_RETURN, FL_TICKET_KEY,
    FL_TICKET_KEYS, SSL, X509, fl_libssl, fl_wire, libssl, ssl_close, ssl_over, wire_new)
from fastlb.engine.stats cimport (
    COUNT_HANDSHAKE_CERTIFICATE, COUNT_HANDSHAKE_LEFT, COUNT_HANDSHAKE_PROTOCOL)
from fastlb.engine.stream cimport (
    IO_AGAIN, IO_EOF, IO_ERROR, SENT_ALL, SENT_ERROR, SENT_PENDING, STREAM_EOF, STREAM_READABLE)
from fastlb.engine.tls_context cimport (
    TLS_BROKEN, TLS_ESTABLISHED, TLS_HANDSHAKE, TLS_START, TLS_WAITING, waits_for_turn)
from fastlb.engine.tls_portable cimport portable_accept, portable_connect

cdef extern from "Python.h":
    enum:
        PyBUF_WRITE

cdef enum:
    JOIN_BELOW = 16384          # head and body this short in all go into one record
    SEND_BATCH = 65536          # plaintext encrypted before it is sent
    REPLIES_MAX = 4194304       # bytes not taken by a peer that makes the layer answer; far above what bodies leave

cdef const fl_libssl* api = NULL


@cython.final
@cython.no_gc
cdef class Tls(TlsLayer):
    """One connection's TLS."""

    def __dealloc__(self):
        ssl_close(self.ssl)
        chunk_free(self.kept)

    cdef ssize_t receive(self, Stream s, char* buf, size_t n) noexcept:
        cdef Core core = s.core
        cdef fl_wire* w = <fl_wire*>core.wire
        cdef ssize_t got
        cdef int done
        cdef int rounds = 0
        if self.state == TLS_BROKEN:
            return IO_ERROR
        if self.ended:
            s.stream_flags &= ~STREAM_READABLE
            return IO_EOF
        if self.state == TLS_WAITING:
            # It goes on when the rate lets it; for a client that has gone meanwhile it does not.
            s.stream_flags &= ~STREAM_READABLE
            return IO_ERROR if s.stream_flags & STREAM_EOF else IO_AGAIN
        if waits_for_turn(s, self):
            return IO_AGAIN
        w.in_left = 0
        if self.kept != NULL:
            w.in_ = self.kept.data + self.kept.start
            w.in_left = self.kept.end - self.kept.start
        while True:
            if w.in_left and self.state < TLS_ESTABLISHED:
                if self.state == TLS_START:
                    # Signing is the dearest thing that a stranger can have us do: not for one who has left, which the
                    # reactor has told since the connection was queued.
                    if s.stream_flags & STREAM_EOF:
                        done = -1
                    elif not self.server.admit(s):
                        self.state = TLS_WAITING
                        return IO_AGAIN if self._keep(core) else IO_ERROR
                    else:
                        self.state = TLS_HANDSHAKE
                        done = self._handshake(s)
                else:
                    done = self._handshake(s)
                if done < 0:
                    if self.server is not None:
                        self.server.failed(self._why(s))
                    self.state = TLS_BROKEN
                    s.stream_flags &= ~STREAM_READABLE
                    return IO_ERROR
                if done > 0:
                    continue                # the first request may have come together with the client's Finished
                if not s.stream_flags & STREAM_READABLE:
                    self._fed(core)
                    return IO_AGAIN         # an event tells when the answer is there
            elif w.in_left or (self.state == TLS_ESTABLISHED and api.SSL_pending(self.ssl) > 0):
                got = self._decrypt(s, buf, n)
                if w.out_len and self._send_out(s) == SENT_ERROR:
                    return IO_ERROR
                if got > 0:
                    # More may be waiting here where the kernel has none.
                    if w.in_left:
                        if not self._keep(core):
                            return IO_ERROR
                        s.stream_flags |= STREAM_READABLE
                    elif not self._fed(core) or self.ended or api.SSL_pending(self.ssl) > 0:
                        s.stream_flags |= STREAM_READABLE
                    return got
                if got == IO_EOF or got == IO_ERROR:
                    s.stream_flags &= ~STREAM_READABLE
                    return got
            self._fed(core)
            if s.out_bytes > REPLIES_MAX:
                return IO_ERROR             # it asks for new keys again and again and takes none
            if rounds >= READ_ROUNDS:
                # Records that hold no plaintext may come without end: others get their turn.
                if s.stream_flags & STREAM_READABLE:
                    core.reactor.defer(s)
                return IO_AGAIN
            rounds += 1
            got = s.receive_raw(core.cbuf, CIPHER_SIZE)
            if got == IO_EOF:
                # A peer that ends without close_notify: message framing above says whether something is missing.
                if self.state == TLS_HANDSHAKE and self.server is not None:
                    self.server.failed(COUNT_HANDSHAKE_LEFT)
                return IO_EOF
            if got < 0:
                return got
            w.in_ = core.cbuf
            w.in_left = <size_t>got

    cdef int _why(self, Stream s) noexcept:
        """What a handshake failed for, for the counters."""
        if self.state == TLS_START or s.stream_flags & STREAM_EOF:
            return COUNT_HANDSHAKE_LEFT
        # A certificate that is asked for, and there is none or none that is good.
        if api.SSL_get_verify_result(self.ssl) != 0 or self.missing:
            return COUNT_HANDSHAKE_CERTIFICATE
        return COUNT_HANDSHAKE_PROTOCOL

    cdef bint _keep(self, Core core) noexcept:
        """Puts aside what libssl has not read; false when there is no memory for it."""
        cdef fl_wire* w = <fl_wire*>core.wire
        cdef Chunk* c
        if self.kept != NULL:
            self.kept.start = self.kept.end - <uint32_t>w.in_left
            return True
        c = chunk_new(w.in_left)
        if c == NULL:
            return False
        memcpy(c.data, w.in_, w.in_left)
        c.end = <uint32_t>w.in_left
        self.kept = c
        return True

    cdef bint _fed(self, Core core) noexcept:
        """All that was put aside has been read. True, for use in conditions."""
        if self.kept != NULL:
            chunk_free(self.kept)
            self.kept = NULL
        return True

    cdef ssize_t _decrypt(self, Stream s, char* buf, size_t n) noexcept:
        """Plaintext bytes, or IO_AGAIN when the record is not complete, IO_EOF at the peer's close_notify, IO_ERROR."""
        cdef fl_wire* w = <fl_wire*>s.core.wire
        cdef size_t total = 0
        cdef int got
        w.current = <void*>self
        while total < n:
            got = api.SSL_read(self.ssl, buf + total, <int>(n - total))
            if got > 0:
                total += <size_t>got
                if w.in_left == 0 and api.SSL_pending(self.ssl) == 0:
                    break
                continue
            got = api.SSL_get_error(self.ssl, got)
            if got == FL_SSL_ZERO_RETURN:
                self.ended = True           # told by the next call when plaintext came before it
                w.in_left = 0
            elif got != FL_SSL_WANT_READ:
                api.ERR_clear_error()
                self.state = TLS_BROKEN
                w.in_left = 0
                w.current = NULL
                return <ssize_t>total if total else IO_ERROR
            break
        w.current = NULL
        if total:
            return <ssize_t>total
        return IO_EOF if self.ended else IO_AGAIN

    cdef int _handshake(self, Stream s) noexcept:
        """1 = finished, 0 = more is needed, -1 = it failed (an alert has been sent where there is one)."""
        cdef fl_wire* w = <fl_wire*>s.core.wire
        cdef bytearray early
        cdef int result
        w.current = <void*>self
        result = api.SSL_do_handshake(self.ssl)
        w.current = NULL
        if result != 1:
            result = 0 if api.SSL_get_error(self.ssl, result) == FL_SSL_WANT_READ else -1
            if result < 0:
                # The reason is in the lower 23 bits (ERR_GET_REASON of OpenSSL 3).
                self.missing = api.ERR_peek_error() & 0x7fffff == FL_R_NO_CERTIFICATE
                if self.client is not None:
                    self.client.failed(s, fault_of(self.ssl))
                api.ERR_clear_error()
        if w.out_len and self._send_out(s) == SENT_ERROR:
            return -1
        if result == 1:
            self.state = TLS_ESTABLISHED
            if self.server is not None:
                self.server.done(s, self)
            if self.early is not None:
                early, self.early = self.early, None
                if self._encrypt(s, <const char*>early, <size_t>len(early)) == SENT_ERROR:
                    return -1
        return result

    cdef int establish(self, Stream s) noexcept:
        cdef Core core = s.core
        cdef fl_wire* w = <fl_wire*>core.wire
        cdef ssize_t got
        cdef int done
        if self.state == TLS_BROKEN:
            return -1
        w.in_left = 0
        while self.state != TLS_ESTABLISHED:
            done = self._handshake(s)
            if done < 0:
                self.state = TLS_BROKEN
                return -1
            if done > 0:
                break
            got = s.receive_raw(core.cbuf, CIPHER_SIZE)
            if got == IO_EOF:
                self.client.failed(s, "the server closed the connection")
            if got <= 0:
                return 0 if got == IO_AGAIN else -1
            w.in_ = core.cbuf
            w.in_left = <size_t>got
        if w.in_left:
            if not self._keep(core):
                return -1
            s.stream_flags |= STREAM_READABLE
        return 1

    cdef int transmit(self, Stream s, const char* a, size_t an, const char* b, size_t bn) noexcept:
        cdef int sent = SENT_ALL
        if self.state < TLS_ESTABLISHED:
            try:
                if self.early is None:
                    self.early = bytearray()
                self.early += a[:an]
                if bn:
                    self.early += b[:bn]
            except Exception:
                return SENT_ERROR
            return SENT_PENDING
        if self.state == TLS_BROKEN:
            return SENT_ERROR
        if an and bn and an + bn <= JOIN_BELOW:
            # `a` is the head in obuf, which has room behind it.
            if a == s.core.obuf and an + bn <= HEAD_OUT:
                memcpy(s.core.obuf + an, b, bn)
                return self._encrypt(s, a, an + bn)
        if an:
            sent = self._encrypt(s, a, an)
        if bn and sent != SENT_ERROR:
            sent = self._encrypt(s, b, bn)
        return sent

    cdef int _encrypt(self, Stream s, const char* p, size_t n) noexcept:
        cdef fl_wire* w = <fl_wire*>s.core.wire
        cdef size_t piece
        # What is there to be read may be another connection's: libssl must not find it, should it look.
        cdef size_t in_left = w.in_left
        cdef int sent = SENT_ALL
        w.in_left = 0
        while n and sent != SENT_ERROR:
            piece = n if n < SEND_BATCH else SEND_BATCH
            # Never short: the wire takes all, and partial writes are off.
            if api.SSL_write(self.ssl, p, <int>piece) <= 0:
                api.ERR_clear_error()
                self.state = TLS_BROKEN
                w.out_len = 0
                sent = SENT_ERROR
            else:
                sent = self._send_out(s)
            p += piece
            n -= piece
        w.in_left = in_left
        return sent

    cdef int _send_out(self, Stream s) noexcept:
        cdef fl_wire* w = <fl_wire*>s.core.wire
        cdef size_t n = w.out_len
        w.out_len = 0
        return s.transmit_raw(w.out, n, NULL, 0)

    cdef void end(self, Stream s) noexcept:
        if self.state != TLS_ESTABLISHED or self.said:
            return
        # The peer's own close_notify is not waited for; what it still sends can be read (half-close).
        self.said = True
        (<fl_wire*>s.core.wire).in_left = 0
        if api.SSL_shutdown(self.ssl) < 0:
            api.ERR_clear_error()
        if (<fl_wire*>s.core.wire).out_len:
            self._send_out(s)

    cdef const char* version_text(self) noexcept:
        return api.SSL_get_version(self.ssl)

    cdef const char* cipher_text(self) noexcept:
        return api.SSL_CIPHER_get_name(api.SSL_get_current_cipher(self.ssl))

    cdef const char* name_text(self) noexcept:
        return api.SSL_get_servername(self.ssl, 0)

    cdef object version(self):
        return (<bytes>api.SSL_get_version(self.ssl)).decode()

    cdef object cipher(self):
        return (<bytes>api.SSL_CIPHER_get_name(api.SSL_get_current_cipher(self.ssl))).decode()

    cdef object server_name(self):
        cdef const char* name = api.SSL_get_servername(self.ssl, 0)
        return None if name == NULL else (<bytes>name).decode("ascii", "replace")

    cdef bytes peer_certificate(self):
        cdef X509* found = api.SSL_get1_peer_certificate(self.ssl)
        cdef unsigned char* p
        cdef bytes der
        cdef int n
        if found == NULL:
            return b""
        try:
            n = api.i2d_X509(found, NULL)
            der = PyBytes_FromStringAndSize(NULL, n)
            p = <unsigned char*>PyBytes_AS_STRING(der)
            api.i2d_X509(found, &p)
            return der
        finally:
            api.X509_free(found)

    cdef bint resumed(self) noexcept:
        return api.SSL_session_reused(self.ssl) == 1


cdef str fault_of(SSL* connection):
    """What the server's handshake failed for, in libssl's words. Cold."""
    cdef unsigned long code = api.ERR_peek_error()
    cdef const char* text = api.ERR_reason_error_string(code) if code else NULL
    cdef long found = api.SSL_get_verify_result(connection)
    if text == NULL:
        return "no reason given"
    told = (<bytes>text).decode("ascii", "replace")
    if code & 0x7fffff == FL_R_VERIFY_FAILED and found:
        text = api.X509_verify_cert_error_string(found)
        return f"{told}: {(<bytes>text).decode('ascii', 'replace')}"
    return told


cdef bint tls_prepare(Core core) noexcept:
    global api
    if core.cbuf == NULL:
        core.cbuf = <char*>malloc(CIPHER_SIZE)
        if core.cbuf == NULL:
            return False
        core.rview = PyMemoryView_FromMemory(core.rbuf, READ_SIZE, PyBUF_WRITE)
    if core.wire == NULL:
        api = libssl()
        if api != NULL:
            core.wire = wire_new()
            if core.wire == NULL:
                return False
    return True


cdef TlsLayer tls_accept(Core core, TlsServer server):
    cdef Tls t
    if server.pointer == NULL:
        return portable_accept(server)
    t = Tls.__new__(Tls)
    t.server = server
    t.ssl = ssl_over(server.pointer, <fl_wire*>core.wire, True)
    return t if t.ssl != NULL else None


cdef TlsLayer tls_connect(Core core, TlsClient client):
    cdef Tls t
    cdef bytes name
    if client.pointer == NULL:
        return portable_connect(client)
    t = Tls.__new__(Tls)
    t.client = client
    t.state = TLS_HANDSHAKE
    t.ssl = ssl_over(client.pointer, <fl_wire*>core.wire, False)
    if t.ssl == NULL:
        return None
    if client.name:
        name = client.name.encode()
        if client.is_address:
            if client.verify_name:
                api.X509_VERIFY_PARAM_set1_ip_asc(api.SSL_get0_param(t.ssl), name)
        else:
            api.SSL_ctrl(t.ssl, FL_CTRL_HOSTNAME, 0, <void*><char*>name)
            if client.verify_name:
                api.SSL_set1_host(t.ssl, name)
    if client.session != NULL and api.SSL_SESSION_is_resumable(client.session):
        api.SSL_set_session(t.ssl, client.session)
    return t


cdef void tls_tickets(Core core, object keys) noexcept:
    cdef fl_wire* w = <fl_wire*>core.wire
    cdef bytes key
    if w == NULL:
        return
    try:
        w.tickets.count = 0
        for key in keys[:FL_TICKET_KEYS]:
            if len(key) == FL_TICKET_KEY:
                memcpy(w.tickets.keys[w.tickets.count], PyBytes_AS_STRING(key), FL_TICKET_KEY)
                w.tickets.count += 1
    except Exception:
        pass
