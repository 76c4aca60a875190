# The exchanges that are made: with the second copies of late requests.
from fastlb.engine.core cimport Core
from fastlb.engine.exchange cimport Exchange
from fastlb.engine.retried_exchange cimport RetriedExchange
from fastlb.engine.upstream cimport Frontend

cdef class PairedExchange(RetriedExchange):
    pass

# A new exchange; the caller's reference is the reactor's to give up (Exchange.end does).
cdef Exchange exchange_new(Core core, Frontend front)
