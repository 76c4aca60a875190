# What happens to a session of layer 4 before a server is picked, as admission.pxd for requests.
from fastlb.engine.client_hello cimport Hello
from fastlb.engine.exchange cimport Exchange

# Routes the session, asks limits and access rules, and has its backend pick a server. `h`: of a ClientHello in
# core.obuf, NULL = none was read.
cdef void admit_session(Exchange e, const Hello* h) noexcept
