"""A backend's balancer over a copy of what all workers share, taken at one moment: to ask what it would do."""

from fastlb._core.region cimport Region
from fastlb.balance.base cimport tier_of
from fastlb.balance.trial cimport Trial

from fastlb.balance.trial import FULL, NONE
from fastlb.control.balance_keys import balance_options, hash_key
from fastlb.engine.request_key import key_of_head

__all__ = ["FULL", "NONE", "BalanceCopy"]


cdef class BalanceCopy:
    """The balancer of `backend`, a Backend of the Spec that `assignment` belongs to, as of now.

    O(servers). Raises ValueError as the engine does for options it does not take.
    """

    cdef:
        readonly object backend
        Trial _trial
        int _key_kind
        bytes _key_name

    def __init__(self, backend, assignment, Region region not None):
        cdef int index
        self.backend = backend
        self._key_kind, self._key_name = hash_key(backend.balance)
        self._trial = Trial(len(backend.servers))
        index = assignment.backends[backend.name]
        self._trial.copy_group(region.group(index))
        for server in backend.servers:
            index = assignment.servers[backend.name, server.address]
            self._trial.copy_server(region.server(index), tier_of(server.backup, server.tier), str(server.address))
        self._trial.begin(backend.balance.algorithm, balance_options(backend.balance))

    def key(self, bytes head not None, str client="unix"):
        """(text, hash) of what the algorithm hashes of the request; None when it hashes nothing or there is nothing.

        `head` is a whole request head that parses, `client` an address without port or 'unix'.
        """
        cdef bytes raw
        found = key_of_head(self._key_kind, self._key_name, head, client)
        if found is None:
            return None
        raw, is_address = found
        text = client if is_address else raw.decode("utf-8", "backslashreplace")
        return text, self._trial.key_of(raw, len(raw))

    @property
    def keyed(self):
        """The algorithm hashes a key."""
        return self._trial.keyed

    def loads(self):
        """Percent by tier of those that share the load; {} while one has it all."""
        return self._trial.loads()

    def draw(self, key=None, tried=(), int times=1):
        """See Trial.draw."""
        return self._trial.draw(key, tried, times)

    def server(self, int slot):
        """See Trial.server."""
        return self._trial.server(slot)
