"""TLS between a stream and the kernel, by the standard library's ssl over memory buffers.

The layer for interpreters whose libssl cannot be called directly (see tls.pyx for the usual one). It does what the ssl
module can do: sessions resume in the worker that made them alone, and sessions with servers are not resumed.

The interpreter is entered four times a request (one write and one read for each direction). An exception is raised
only where a record is incomplete, a peer breaks off or breaks the protocol.
"""

import ssl

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.string cimport memcpy
from fastlb.engine.core cimport CIPHER_SIZE, HEAD_OUT, READ_ROUNDS
from fastlb.engine.stats cimport COUNT_HANDSHAKE_LEFT, COUNT_HANDSHAKE_PROTOCOL
from fastlb.engine.stream cimport (
    IO_AGAIN, IO_EOF, IO_ERROR, SENT_ALL, SENT_ERROR, SENT_PENDING, STREAM_EOF, STREAM_READABLE)
from fastlb.engine.tls_context cimport (
    TLS_BROKEN, TLS_ESTABLISHED, TLS_HANDSHAKE, TLS_START, TLS_WAITING, waits_for_turn)

cdef extern from "Python.h":
    enum:
        PyBUF_READ
        PyBUF_WRITE

cdef object MemoryBIO = ssl.MemoryBIO
cdef object WantRead = ssl.SSLWantReadError
cdef object ZeroReturn = ssl.SSLZeroReturnError

cdef enum:
    JOIN_BELOW = 16384          # head and body this short in all go into one record
    SEND_BATCH = 65536          # plaintext encrypted before it is sent; the buffer keeps its largest size for ever
    REPLIES_MAX = 4194304       # bytes not taken by a peer that makes the layer answer; far above what bodies leave


cdef class PortableTls(TlsLayer):
    """One connection's TLS."""

    cdef ssize_t receive(self, Stream s, char* buf, size_t n) noexcept:
        cdef Core core = s.core
        cdef ssize_t got
        cdef int done
        cdef int rounds = 0
        if self.aside is not None:
            got = min(<ssize_t>n, PyBytes_GET_SIZE(self.aside))
            memcpy(buf, PyBytes_AS_STRING(self.aside), <size_t>got)
            try:
                self.aside = self.aside[got:] or None
            except Exception:
                return IO_ERROR         # out of memory
            s.stream_flags |= STREAM_READABLE
            return got
        if self.state == TLS_BROKEN:
            return IO_ERROR
        if self.ended:
            s.stream_flags &= ~STREAM_READABLE
            return IO_EOF
        if self.state == TLS_WAITING:
            s.stream_flags &= ~STREAM_READABLE
            return IO_ERROR if s.stream_flags & STREAM_EOF else IO_AGAIN
        if waits_for_turn(s, self):
            return IO_AGAIN
        try:
            while True:
                if self.state == TLS_START and self.incoming.pending:
                    if s.stream_flags & STREAM_EOF:
                        self.server.failed(COUNT_HANDSHAKE_LEFT)
                        self.state = TLS_BROKEN
                        s.stream_flags &= ~STREAM_READABLE
                        return IO_ERROR
                    if not self.server.admit(s):
                        self.state = TLS_WAITING
                        return IO_AGAIN
                    self.state = TLS_HANDSHAKE
                if self.state == TLS_HANDSHAKE:
                    done = self._handshake(s)
                    if done < 0:
                        if self.server is not None:
                            self.server.failed(COUNT_HANDSHAKE_PROTOCOL)
                        self.state = TLS_BROKEN
                        s.stream_flags &= ~STREAM_READABLE
                        return IO_ERROR
                    if done > 0:
                        continue            # the first request may have come together with the client's Finished
                elif self.incoming.pending or self.session.pending():
                    got = self._decrypt(core, buf, n)
                    if self.outgoing.pending and self._send_out(s) == SENT_ERROR:
                        return IO_ERROR
                    if got > 0:
                        # More may be waiting in the buffers where the kernel has none.
                        if self.ended or self.incoming.pending or self.session.pending():
                            s.stream_flags |= STREAM_READABLE
                        return got
                    if got == 0:
                        s.stream_flags &= ~STREAM_READABLE
                        return IO_EOF
                if s.out_bytes > REPLIES_MAX:
                    return IO_ERROR         # it asks for new keys again and again and takes none
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
                self.incoming.write(PyMemoryView_FromMemory(core.cbuf, got, PyBUF_READ))
        except Exception:
            self.state = TLS_BROKEN
            s.stream_flags &= ~STREAM_READABLE
            return IO_ERROR

    cdef ssize_t _decrypt(self, Core core, char* buf, size_t n) except -2:
        """Plaintext bytes, 0 at the peer's close_notify, -1 when the record is not complete."""
        cdef ssize_t got
        cdef ssize_t total = 0
        try:
            while <size_t>total < n:
                if buf == core.rbuf and total == 0:
                    got = self.session.read(n, core.rview)
                else:
                    got = self.session.read(n - total, PyMemoryView_FromMemory(buf + total, n - total, PyBUF_WRITE))
                if got == 0:
                    self.ended = True   # told by the next call when plaintext came before it
                    break
                total += got
                if not (self.incoming.pending or self.session.pending()):
                    break
            return total
        except WantRead:
            return total if total else -1
        except ZeroReturn:
            self.ended = True
            return total

    cdef int _handshake(self, Stream s) noexcept:
        """1 = finished, 0 = more is needed, -1 = it failed (an alert has been sent where there is one)."""
        cdef int result = -1
        cdef bytearray early
        try:
            try:
                self.session.do_handshake()
                result = 1
            except WantRead:
                result = 0
            except Exception as error:
                result = -1
                if self.client is not None:
                    self.client.failed(s, _fault(error))
            if self.outgoing.pending and self._send_out(s) == SENT_ERROR:
                return -1
            if result == 1:
                self.state = TLS_ESTABLISHED
                self.told_version = (self.session.version() or "").encode()
                self.told_cipher = (self.session.cipher() or ("",))[0].encode()
                if self.server is not None:
                    self.server.done(s, self)
                early, self.early = self.early, None
                if early is not None and self._encrypt(s, <const char*>early, len(early)) == SENT_ERROR:
                    return -1
        except Exception:
            return -1
        return result

    cdef int transmit(self, Stream s, const char* a, size_t an, const char* b, size_t bn) noexcept:
        cdef int sent = SENT_ALL
        try:
            if self.state < TLS_ESTABLISHED:
                if self.early is None:
                    self.early = bytearray()
                self.early += a[:an]
                if bn:
                    self.early += b[:bn]
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
        except Exception:
            self.state = TLS_BROKEN
            return SENT_ERROR

    cdef int _encrypt(self, Stream s, const char* p, size_t n) except? -1:
        cdef size_t done = 0
        cdef size_t batch = 0
        cdef ssize_t took
        cdef int sent = SENT_ALL
        while done < n:
            # A record of up to 16 KB a call.
            took = self.session.write(PyMemoryView_FromMemory(<char*>p + done, n - done, PyBUF_READ))
            done += <size_t>took
            batch += <size_t>took
            if batch >= SEND_BATCH or done == n:
                sent = self._send_out(s)
                if sent == SENT_ERROR:
                    return sent
                batch = 0
        return sent

    cdef int _send_out(self, Stream s) noexcept:
        cdef bytes wire
        try:
            wire = self.outgoing.read()
        except Exception:
            return SENT_ERROR
        return s.transmit_raw(PyBytes_AS_STRING(wire), <size_t>PyBytes_GET_SIZE(wire), NULL, 0)

    cdef void end(self, Stream s) noexcept:
        if self.state != TLS_ESTABLISHED or self.said:
            return
        # What the peer still sends can be read (half-close).
        self.said = True
        try:
            self._set_aside(s)
            try:
                self.session.shutdown()
            except Exception:
                pass                    # the peer's own close_notify is not waited for
            if self.outgoing.pending:
                self._send_out(s)
        except Exception:
            pass

    cdef int _set_aside(self, Stream s) except -1:
        """Reads what is there: shutdown() looks for the peer's close_notify, and fails where plaintext is before it."""
        cdef list pieces = []
        try:
            while self.incoming.pending or self.session.pending():
                piece = self.session.read(JOIN_BELOW)
                if not piece:
                    self.ended = True
                    break
                pieces.append(piece)
        except WantRead:
            pass
        except ZeroReturn:
            self.ended = True
        if pieces:
            self.aside = (self.aside or b"") + b"".join(pieces)
            s.stream_flags |= STREAM_READABLE
        return 0

    cdef int establish(self, Stream s) noexcept:
        cdef int done
        cdef ssize_t got
        if self.state == TLS_BROKEN:
            return -1
        try:
            while self.state != TLS_ESTABLISHED:
                done = self._handshake(s)
                if done < 0:
                    self.state = TLS_BROKEN
                    return -1
                if done > 0:
                    break
                got = s.receive_raw(s.core.cbuf, CIPHER_SIZE)
                if got == IO_EOF:
                    self.client.failed(s, "the server closed the connection")
                if got <= 0:
                    return 0 if got == IO_AGAIN else -1
                self.incoming.write(PyMemoryView_FromMemory(s.core.cbuf, got, PyBUF_READ))
        except Exception:
            self.state = TLS_BROKEN
            return -1
        if self.incoming.pending:
            s.stream_flags |= STREAM_READABLE
        return 1

    cdef const char* version_text(self) noexcept:
        return NULL if self.told_version is None else <const char*>self.told_version

    cdef const char* cipher_text(self) noexcept:
        return NULL if self.told_cipher is None else <const char*>self.told_cipher

    cdef object version(self):
        return self.session.version()

    cdef object cipher(self):
        found = self.session.cipher()
        return found[0] if found else None

    cdef object server_name(self):
        return self.session.server_hostname

    cdef bytes peer_certificate(self):
        return self.session.getpeercert(True) or b""

    cdef bint resumed(self) noexcept:
        try:
            return self.session.session_reused
        except Exception:
            return False


cdef str _fault(object error):
    """What a server's handshake failed for, in the words that libssl has for it."""
    told = (getattr(error, "reason", None) or "no reason given").lower().replace("_", " ")
    found = getattr(error, "verify_message", "")
    return f"{told}: {found}" if found else told


cdef PortableTls portable_accept(TlsServer server):
    cdef PortableTls t
    try:
        t = PortableTls.__new__(PortableTls)
        t.server = server
        t.incoming = MemoryBIO()
        t.outgoing = MemoryBIO()
        # The C-level object without ssl.SSLObject around it: one call less a read or write, and less memory.
        t.session = server.context._wrap_bio(t.incoming, t.outgoing, server_side=True)
        return t
    except Exception:
        return None                     # out of memory


cdef PortableTls portable_connect(TlsClient client):
    cdef PortableTls t
    try:
        t = PortableTls.__new__(PortableTls)
        t.client = client
        t.incoming = MemoryBIO()
        t.outgoing = MemoryBIO()
        t.session = client.context._wrap_bio(t.incoming, t.outgoing, server_side=False,
                                             server_hostname=client.name or None)
        return t
    except Exception:
        return None
