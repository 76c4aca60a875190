"""The listening sockets of the running configuration. The supervisor owns them as long as they are served.

One socket a worker slot with SO_REUSEPORT for each TCP address: the kernel spreads connections over the slots, and a
slot's queue outlives its worker, because the supervisor never closes the socket between two workers. A Unix socket
cannot be bound twice, so all slots share the one; so it is with a socket that the service manager opened.

Another configuration takes place in three steps, so that no queue is lost and a failure changes nothing: `plan` binds
what is new, `adopt` makes the plan what workers get, `release` closes what has left once no worker accepts on it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import logging
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fastlb.control.bind import UNIX_MODE, Unlink, backlog, bind_tcp, bind_unix, find, reason
from fastlb.control.bind_udp import bind_udp, steer
from fastlb.control.steer import attach, detach
from fastlb.control.tcp_options import OptionError, listener_options, set_options
from fastlb.errors import FastlbError, Problem
from fastlb.spec import Address, Listen, ListenTcp, Mode, Spec

log = logging.getLogger("fastlb.control")

Endpoint = tuple[int, tuple[str, int] | str]  # family, and the address as it was asked for: port 0 stays 0
Entry = tuple[str, str, int, Listen]  # key for messages, frontend, index in its `listen`, the entry itself
Given = tuple[int, str, int, socket.socket]  # number, frontend, index in its `listen`, socket


class ListenError(FastlbError):
    """Addresses that cannot be listened on. `problems` holds every one."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(p) for p in problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Place:
    """One address of one listen entry.

    `numbers` name the sockets towards the workers; a socket that goes to another frontend gets a new one.
    """

    frontend: str
    index: int
    endpoint: Endpoint
    sockets: tuple[socket.socket, ...]
    numbers: tuple[int, ...]
    unlink: Unlink | None = None
    tcp: ListenTcp = field(default_factory=ListenTcp)


@dataclass(frozen=True, slots=True)
class Inherited:
    """Listening sockets of one address that another process has bound. `asked`: the address as it was asked for.

    `name`: that of the frontend it is meant for; where no frontend is called so, whoever listens there gets it.
    """

    asked: Endpoint
    sockets: tuple[socket.socket, ...]
    unlink: Unlink | None = None
    name: str = ""


@dataclass(slots=True)
class Plan:
    """What `Listeners.adopt` would make of it."""

    places: list[Place]
    opened: list[socket.socket]  # bound for this plan

    def abort(self) -> None:
        """Closes what was bound for it."""
        new = set(self.opened)
        _close([p for p in self.places if new.issuperset(p.sockets)])
        for sock in self.opened:
            sock.close()


@dataclass(slots=True)
class Listeners:
    """The listening sockets for `slots` workers.

    `reuse_port` false (one process) lets the kernel itself refuse an address that another program listens on.
    """

    slots: int
    reuse_port: bool = True
    unix_mode: int = UNIX_MODE  # of the files of Unix sockets
    _places: list[Place] = field(default_factory=list)
    _leaving: list[Place] = field(default_factory=list)  # not configured any more, still served
    _inherited: list[Inherited] = field(default_factory=list)
    _number: int = 0
    _stuck: bool = False  # the kernel takes no programs

    def inherit(self, sockets: Iterable[Inherited]) -> None:
        """Has `plan` take these where the configuration names their address, instead of binding."""
        self._inherited += sockets

    def take_unclaimed(self) -> list[Inherited]:
        """Inherited sockets that the configuration does not name; they are the caller's from now on."""
        found, self._inherited = self._inherited, []
        return found

    def open(self, spec: Spec) -> None:
        """Binds every address of `spec` and listens. Raises ListenError naming all that failed; then none is open."""
        self.adopt(self.plan(spec))

    def open_one(self, key: str, address: Address, source: str = "") -> list[socket.socket]:
        """Binds an address that belongs to no frontend; `key` names it in the ListenError. The sockets stay ours."""
        plan = _Planner(self, source).plan([(key, key, 0, Listen(address))], keep=True)
        self.adopt(plan)
        return [sock for place in plan.places if place.frontend == key for sock in place.sockets]

    def share(self, slots: int) -> None:
        """From the next plan on there are `slots` workers. Sockets of slots that are no more go to all the others."""
        self.slots = max(slots, 1)

    def plan(self, spec: Spec) -> Plan:
        """Binds what `spec` has and we have not; what stays is taken over. Raises ListenError; nothing is changed then.

        May block on the look-up of a name.
        """
        return _Planner(self, spec.source).plan(
            [
                (f"frontends.{frontend.name}.listen[{index}]", frontend.name, index, listen)
                for frontend in spec.frontends
                for index, listen in enumerate(frontend.listen)
            ],
            udp={
                frontend.name: frontend.udp.flow == "source" for frontend in spec.frontends if frontend.mode is Mode.UDP
            },
        )

    def adopt(self, plan: Plan) -> None:
        """From now on workers get the sockets of `plan`; those that it lacks are leaving."""
        kept = {sock for place in plan.places for sock in place.sockets}
        numbers = {number for place in plan.places for number in place.numbers}
        # A socket that went to another frontend leaves under its old number, and stays open.
        self._leaving = [p for p in (*self._leaving, *self._places) if not numbers.issuperset(p.numbers)]
        before = {sock: place.tcp for place in self._places for sock in place.sockets}
        for place in plan.places:
            for sock in place.sockets:
                if sock not in plan.opened and before.get(sock, ListenTcp()) != place.tcp:
                    _other_options(sock, place.tcp)
        self._places = plan.places
        self._inherited = [i for i in self._inherited if kept.isdisjoint(i.sockets)]

    def narrow(self) -> None:
        """Has the kernel give new connections to the slots there are alone, where there were more before.

        The sockets of the others stay, shared by all, for who is in their queues or on the way there: see `trim`.
        """
        for place in self._places:
            if place.sockets[0].type != socket.SOCK_STREAM or not _can_share(place.sockets):
                continue
            if not self._surplus(place):
                detach(place.sockets[0])
                continue
            try:
                attach(place.sockets[0], self.slots, ports=True)
            except OSError as error:
                why = error.strerror or error
                log.warning("sockets of workers that left stay in use: the kernel takes no program (%s)", why)
                self._stuck = True
                return

    def surplus(self) -> bool:
        """There are sockets that get nothing any more."""
        return not self._stuck and any(self._surplus(place) for place in self._places)

    def trim(self) -> None:
        """Makes those leave."""
        for n, place in enumerate(self._places):
            if self._surplus(place):
                kept = dataclasses.replace(
                    place, sockets=place.sockets[: self.slots], numbers=place.numbers[: self.slots]
                )
                rest = dataclasses.replace(
                    place, sockets=place.sockets[self.slots :], numbers=place.numbers[self.slots :], unlink=None
                )
                self._places[n] = kept
                self._leaving.append(rest)

    def _surplus(self, place: Place) -> bool:
        return (
            len(place.sockets) > self.slots
            and place.sockets[0].type == socket.SOCK_STREAM
            and _can_share(place.sockets)
        )

    def leaving(self) -> list[int]:
        """Numbers of the sockets that are not configured any more."""
        return [number for place in self._leaving for number in place.numbers]

    def leaving_frontends(self) -> set[str]:
        """Names of the frontends they belonged to."""
        return {place.frontend for place in self._leaving}

    def release(self) -> None:
        """Closes our side of what is leaving. Workers that still have it serve what waits in the queue."""
        kept = {sock for place in self._places for sock in place.sockets}
        _close([p for p in self._leaving if kept.isdisjoint(p.sockets)])
        self._leaving = []

    def of_slot(self, slot: int) -> Iterator[Given]:
        """What one worker accepts on; ':port' makes two of them. The sockets stay ours."""
        for place in self._places:
            for n in _shares(len(place.sockets), slot, self.slots):
                yield place.numbers[n], place.frontend, place.index, place.sockets[n]

    def addresses(self) -> dict[str, list[tuple[str, int] | str]]:
        """Where each frontend listens: (host, port) or the path of a Unix socket, with the real port where it was 0."""
        found: dict[str, list[tuple[str, int] | str]] = {}
        for place in self._places:
            found.setdefault(place.frontend, []).append(address_of(place.sockets[0]))
        return found

    def count(self) -> int:
        """Listening sockets a worker gets at most."""
        return max(
            sum(len(list(_shares(len(p.sockets), slot, self.slots))) for p in self._places)
            for slot in range(self.slots)
        )

    def inheritance(self) -> list[Inherited]:
        """Everything there is, for a process that takes over."""
        return [Inherited(p.endpoint, p.sockets, p.unlink) for p in self._places]

    def files(self) -> list[str]:
        """The files of Unix sockets that we made."""
        return [place.unlink[0] for place in self._places if place.unlink is not None]

    def forget_files(self) -> None:
        """`close` leaves the files of Unix sockets where they are: somebody else serves them now."""
        self._places = [_without_file(p) for p in self._places]
        self._leaving = [_without_file(p) for p in self._leaving]

    def close(self) -> None:
        """Closes our side and removes the files of Unix sockets. What a worker still holds goes on listening."""
        _close([*self._leaving, *self._places])
        for one in self._inherited:
            for sock in one.sockets:
                sock.close()
        self._places, self._leaving, self._inherited = [], [], []

    def number(self) -> int:
        """The next number of a socket."""
        self._number += 1
        return self._number


class _Planner:
    """One `Listeners.plan`."""

    def __init__(self, listeners: Listeners, source: str) -> None:
        self._listeners = listeners
        self._source = source
        self._entries: list[Entry] = []
        self._old = [*listeners._places, *listeners._leaving]
        self._inherited = list(listeners._inherited)
        self._opened: list[socket.socket] = []
        self._places: list[Place] = []
        self._kind = socket.SOCK_STREAM  # of the entry at hand
        self._tcp = ListenTcp()

    def plan(self, entries: list[Entry], *, udp: Mapping[str, bool] | None = None, keep: bool = False) -> Plan:
        """`keep`: what there is stays beside the entries. `udp`: frontends that take datagrams, and whether all those
        of one client address go to one worker."""
        self._entries = entries
        if keep:
            self._places, self._old = list(self._listeners._places), []
        problems: list[Problem] = []
        for key, frontend, index, listen in entries:
            try:
                datagrams = udp is not None and frontend in udp
                self._kind = socket.SOCK_DGRAM if datagrams else socket.SOCK_STREAM
                before = len(self._places)
                self._tcp = listen.tcp
                self._entry(frontend, index, listen.address)
                if udp and datagrams:
                    for place in self._places[before:]:
                        steer(place.sockets, by_source=udp[frontend])
            except OSError as error:
                why = reason(error, bool(listen.address.path))
                problems.append(Problem(key, str(listen.address), why, file=self._source))
        plan = Plan(self._places, self._opened)
        if problems:
            plan.abort()
            raise ListenError(problems)
        return plan

    def _entry(self, frontend: str, index: int, address: Address) -> None:
        if address.path:
            self._add(frontend, index, (int(socket.AF_UNIX), address.path))
        elif address.host:
            dual = address.host == "::" and not self._tcp.v6only
            for family, name in find(address.host, address.port):
                self._add(frontend, index, (family, name), dual=dual)
        else:
            self._both(frontend, index, address)

    def _both(self, frontend: str, index: int, address: Address) -> None:
        """Every address of both families, as two sockets, so that each keeps its own form of client address."""
        four: Endpoint = (int(socket.AF_INET), ("0.0.0.0", address.port))
        six: Endpoint = (int(socket.AF_INET6), ("::", address.port))
        if self._take(frontend, index, six, dual=True):
            return
        for last in (False, False, False, True):  # port 0: the port found for IPv4 may be taken for IPv6
            place = self._add(frontend, index, four)
            try:
                self._add(frontend, index, six, port=place.sockets[0].getsockname()[1])
            except OSError as error:
                if error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                    return  # a kernel without IPv6
                if not set(self._opened).issuperset(place.sockets):
                    raise
                self._places.remove(place)
                for sock in place.sockets:
                    self._opened.remove(sock)
                    sock.close()
                if address.port or last or error.errno != errno.EADDRINUSE:
                    raise
            else:
                return

    def _add(self, frontend: str, index: int, endpoint: Endpoint, *, port: int = 0, dual: bool = False) -> Place:
        """The place for an address: the one there is, else an inherited one, else a new one."""
        return self._take(frontend, index, endpoint, dual=dual) or self._bind(frontend, index, endpoint, port, dual)

    def _take(self, frontend: str, index: int, endpoint: Endpoint, *, dual: bool = False) -> Place | None:
        if not dual:
            for same in (True, False):
                for old in self._old:
                    if (
                        old.endpoint == endpoint
                        and old.sockets[0].type == self._kind
                        and not is_dual(old.sockets[0])
                        and (old.frontend == frontend) is same
                        and not self._wanted(old, same)
                    ):
                        self._old.remove(old)
                        return self._keep(frontend, index, old, old.numbers if same else ())
        for one in self._inherited:
            if (
                _serves(one, endpoint)
                and one.sockets[0].type == self._kind
                and is_dual(one.sockets[0]) is dual
                and self._meant(one, frontend)
            ):
                self._inherited.remove(one)
                return self._keep(frontend, index, Place("", 0, endpoint, one.sockets, (), one.unlink), ())
        if dual:
            for old in self._old:
                if old.endpoint == endpoint and old.sockets[0].type == self._kind and is_dual(old.sockets[0]):
                    self._old.remove(old)
                    return self._keep(frontend, index, old, old.numbers if old.frontend == frontend else ())
        return None

    def _meant(self, one: Inherited, frontend: str) -> bool:
        return one.name == frontend or all(name != one.name for _, name, _, _ in self._entries)

    def _wanted(self, old: Place, same: bool) -> bool:
        """Whether the place that another frontend could have is one that its own goes on using."""
        if same:
            return False
        return any(
            name == old.frontend and _covers(listen.address, old.endpoint) for _, name, _, listen in self._entries
        )

    def _keep(self, frontend: str, index: int, old: Place, numbers: tuple[int, ...]) -> Place:
        sockets = old.sockets
        missing = self._listeners.slots - len(sockets)
        if missing > 0 and _can_share(sockets):
            # More workers than before. Where it is not allowed (a port that needs a right given up) they share.
            family, name = old.endpoint
            with contextlib.suppress(OSError):
                host = str(name[0])
                port = int(sockets[0].getsockname()[1])
                sockets += self._sockets(family, (host, port), missing, alone=False, dual=is_dual(sockets[0]))
        numbers += tuple(self._listeners.number() for _ in range(len(sockets) - len(numbers)))
        place = Place(frontend, index, old.endpoint, sockets, numbers, old.unlink, self._tcp)
        self._places.append(place)
        return place

    def _bind(self, frontend: str, index: int, endpoint: Endpoint, port: int, dual: bool = False) -> Place:
        family, name = endpoint
        unlink = None
        if isinstance(name, str):
            sock, unlink = bind_unix(name, self._listeners.unix_mode, self._tcp.backlog)
            self._opened.append(sock)
            sockets: tuple[socket.socket, ...] = (sock,)
        else:
            wanted = (name[0], name[1] or port)
            alone = not any(wanted[1] == p for p in self._own_ports(family))
            sockets = self._sockets(family, wanted, self._listeners.slots, alone=alone, dual=dual)
        numbers = tuple(self._listeners.number() for _ in sockets)
        place = Place(frontend, index, endpoint, sockets, numbers, unlink, self._tcp)
        self._places.append(place)
        return place

    def _sockets(
        self, family: int, name: tuple[str, int], count: int, *, alone: bool, dual: bool = False
    ) -> tuple[socket.socket, ...]:
        shared = self._listeners.reuse_port
        if self._kind == socket.SOCK_DGRAM:
            made = bind_udp(family, name, count, reuse_port=shared, alone=alone)
        else:
            made = bind_tcp(family, name, count, reuse_port=shared, alone=alone, tcp=self._tcp, dual=dual)
        self._opened += made
        return tuple(made)

    def _own_ports(self, family: int) -> Iterator[int]:
        for place in (*self._old, *self._places):
            if place.endpoint[0] == family and place.sockets[0].type == self._kind:
                yield place.sockets[0].getsockname()[1]


def address_of(sock: socket.socket) -> tuple[str, int] | str:
    """(host, port), or the path of a Unix socket ('@name': without a file)."""
    name = sock.getsockname()
    if isinstance(name, bytes):
        name = os.fsdecode(name)
    if isinstance(name, str):
        return f"@{name[1:]}" if name.startswith("\0") else name
    return str(name[0]), int(name[1])


def is_dual(sock: socket.socket) -> bool:
    """True for an IPv6 socket that takes IPv4 connections too, as service managers make them."""
    return sock.family == socket.AF_INET6 and not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)


def _shares(count: int, slot: int, slots: int) -> Iterable[int]:
    """Which of an address's `count` sockets a slot accepts on: its own, and those of slots that are no more.

    These all slots share, so that none gets more than its part. A slot beyond the last is about to join or to leave.
    """
    if slot >= slots:
        return (slot,) if slot < count else ()
    return (slot if slot < count else slot % count, *range(slots, count))


def _other_options(sock: socket.socket, tcp: ListenTcp) -> None:
    """A listening socket that stays takes what a reload changes; what it may not change is said and left."""
    if sock.type != socket.SOCK_STREAM:
        return
    sock.listen(tcp.backlog or backlog())
    if sock.family == socket.AF_UNIX:
        return
    for option in listener_options(tcp, sock.family):
        try:
            set_options(sock, [option], new=False)
        except OptionError as error:
            log.warning("a listener keeps what it had: %s", error.strerror)


def _can_share(sockets: tuple[socket.socket, ...]) -> bool:
    """Whether further sockets can be bound to the same address."""
    first = sockets[0]
    return first.family != socket.AF_UNIX and bool(first.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT))


def _serves(one: Inherited, endpoint: Endpoint) -> bool:
    return one.asked == endpoint or (one.sockets[0].family, address_of(one.sockets[0])) == endpoint


def _covers(address: Address, endpoint: Endpoint) -> bool:
    """Whether a listen address makes this endpoint. A name may; then the endpoint stays with its frontend."""
    name = endpoint[1]
    if address.path or isinstance(name, str):
        return address.path == name
    return address.port == name[1] and (address.host == name[0] or not address.host or not _literal(address.host))


def _literal(host: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            socket.inet_pton(family, host)
            return True
    return False


def _without_file(place: Place) -> Place:
    return Place(place.frontend, place.index, place.endpoint, place.sockets, place.numbers)


def _close(places: list[Place]) -> None:
    for place in places:
        for sock in place.sockets:
            sock.close()
        if place.unlink is not None:
            path, device, inode = place.unlink
            with contextlib.suppress(OSError):
                now = Path(path).stat()
                if (now.st_dev, now.st_ino) == (device, inode):  # not that of a successor
                    Path(path).unlink()
