# What one finished exchange leaves behind for the logs. Pointers are the caller's and need live only for the call.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

ctypedef struct LogRecord:
    int64_t start_us            # wall clock of the first request byte, microseconds since the epoch
    # HAProxy's timers in ms, -1 = that point was never reached
    int32_t tr                  # first request byte to end of the head
    int32_t tw                  # waiting in queues
    int32_t tc                  # connecting, with retries; 0 on reuse
    int32_t trr                 # connected to complete response head
    int32_t ta                  # first request byte to last response byte
    uint32_t ta_us              # the last one in microseconds
    uint16_t status             # 0 = none sent
    uint16_t client_port
    uint8_t retries
    uint8_t redispatched
    uint8_t https
    uint8_t tcp                 # a session of layer 4: no request, no status; 2 = a flow of datagrams
    uint8_t minor               # HTTP/1.minor of the request
    char term[4]                # termination flags, such as "----", "SC--"
    uint64_t datagrams_in       # of a flow
    uint64_t datagrams_out
    uint64_t bytes_out          # to the client, heads included
    uint64_t bytes_in           # from the client, head included
    # concurrent: process, frontend, backend, server
    uint32_t actconn
    uint32_t feconn
    uint32_t beconn
    uint32_t srv_conn
    # requests that were ahead in the queues
    uint32_t srv_queue
    uint32_t backend_queue
    const char* client          # textual address
    uint32_t client_len
    const char* frontend        # without HAProxy's "~", which `https` makes
    uint32_t frontend_len
    const char* backend         # the frontend's name when none was chosen
    uint32_t backend_len
    const char* server          # "<NOSRV>" when none
    uint32_t server_len
    const char* line            # request line as received, NULL or empty when it was never complete
    uint32_t line_len
    # NULL or empty = the request had none
    const char* host
    uint32_t host_len
    const char* user_agent
    uint32_t user_agent_len
    const char* referer
    uint32_t referer_len
    const char* request_id
    uint32_t request_id_len
    const char* trace_id        # 32 hex digits
    uint32_t trace_id_len
    const char* user            # who authentication says it is, NULL or empty = nobody
    uint32_t user_len
    const char* reason          # why it was refused or failed, NULL or empty = it did not
    uint32_t reason_len
    # of the client's connection, where it is TLS
    const char* tls_version     # "TLSv1.3"; NULL or empty = not TLS, or no handshake
    uint32_t tls_version_len
    const char* tls_cipher
    uint32_t tls_cipher_len
    const char* tls_sni         # the server name that the client asked for
    uint32_t tls_sni_len
    const char* tls_client      # who its certificate says it is; empty = it showed none
    uint32_t tls_client_len
    uint8_t tls_resumed

# A record made from Python values, which it keeps alive. For tests and benchmarks.
cdef class RecordHolder:
    cdef LogRecord record
    cdef list _kept
    cdef int _text(self, dict fields, str name, const char** at, uint32_t* n) except -1
