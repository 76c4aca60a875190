# Frontends and listeners of mode udp, for the builder.
from fastlb.engine.core cimport Core
from fastlb.engine.udp_port cimport UdpIo
from fastlb.engine.upstream cimport Backend, Frontend

# The frontend of one of mode udp in a Spec; `target` None = datagrams are dropped.
cdef Frontend udp_frontend(object spec, object f, Backend target)
# The listener on `fd`, which it takes over.
cdef object udp_listener(UdpIo io, Frontend front, int fd, int port)
# No new flows; those that wait for an answer get `within_ms` for it, the others end.
cdef void udp_leave(UdpIo io, object within_ms)
