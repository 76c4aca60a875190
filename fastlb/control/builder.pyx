"""The one place that turns a Spec into engine objects, and the engine's face towards the runtime.

`Engine.apply` builds the whole snapshot first and swaps it in at the end: listeners get their new frontend, and an
exchange that has begun keeps the objects it began with. A server that is in both snapshots keeps its object, and with
it its idle connections.
"""

import dataclasses
import os
import socket

from fastlb.control.challenges import present
from fastlb.control.tls import listener_tls, tls_listeners
from fastlb.spec import Challenges

from libc.stdint cimport uint64_t
from fastlb._core.histogram cimport BUCKETS
from fastlb._core.region cimport COUNTERS, MAX_FRONTENDS, MAX_GROUPS, Region
from fastlb.balance.base cimport ServerSet, tier_of
from fastlb.balance.selector cimport Selector, make_selector
from fastlb.engine.access_log cimport AccessLog
from fastlb.engine.core cimport Core
from fastlb.control.guards cimport make_guard
from fastlb.engine.hedge cimport Hedge
from fastlb.engine.holds cimport Holds
from fastlb.engine.error_log cimport ErrorLog
from fastlb.engine.client_connection cimport clients_count, clients_drain, clients_retire
from fastlb.engine.h1_upstream cimport H1Connector
from fastlb.engine.listener cimport Listener
from fastlb.engine.listener_base cimport ListenerBase
from fastlb.engine.networks cimport Networks
from fastlb.engine.overload cimport Overload
from fastlb.engine.queues cimport QueueSweeper
from fastlb.engine.reactor cimport Reactor
from fastlb.engine.report cimport ExchangeReporter
from fastlb.engine.retry cimport RetryPolicy
from fastlb.engine.router cimport Router
from fastlb.engine.rules cimport Redirect, Respond
from fastlb.engine.server cimport Server, pool_clear
from fastlb.engine.split cimport Split
from fastlb.engine.stats cimport TIME_RESPONSE
from fastlb.engine.tcp_router cimport TcpRouter
from fastlb.engine.tcp_session cimport TcpConnector
from fastlb.engine.tls cimport tls_prepare, tls_tickets
from fastlb.engine.tls_context cimport TlsServer
from fastlb.engine.udp_port cimport UdpIo, UdpPort
from fastlb.engine.upstream cimport Action, Backend, Frontend
from fastlb.engine.wait_queue cimport PRIORITY_HIGH, PRIORITY_LOW, PRIORITY_NORMAL
from fastlb.http.rewrite cimport RequestPlan, ResponsePlan

from fastlb.control.balance_keys import balance_options, hash_key
from fastlb.control.build_server cimport NO_LIMIT, make_server, milliseconds
from fastlb.control.build_udp cimport udp_frontend, udp_leave, udp_listener
from fastlb.control.auth_rules import auth_of, auth_rules
from fastlb.control.bandwidth import backend_bandwidth, make_bandwidth
from fastlb.control.rates import make_accepts, make_limits
from fastlb.control.memory import overload_settings
from fastlb.control.rule_order import forwarded_of, header_rules, route_name, with_hsts
from fastlb.control.step_book import StepBook
from fastlb.control.stick_tables import make_affinity
from fastlb.engine.connections import client_list
from fastlb.engine.shutdown import end_sessions

cdef enum:
    RETIRE_MS = 5000            # idle connections of a frontend whose mode has changed

PRIORITIES = {"high": PRIORITY_HIGH, "normal": PRIORITY_NORMAL, "low": PRIORITY_LOW}
CLOSE_LOG = 0.2                 # seconds that a log target which a reload replaced may take to the end


cdef class Engine:
    """The engine of one worker, on the loop it was made on. Not thread-safe."""

    cdef:
        Core core
        Reactor reactor
        Region region
        QueueSweeper sweeper
        Overload overload
        int worker
        object loop
        object log_spec
        dict frontends          # name -> Frontend of the snapshot in force
        dict contexts           # (frontend name, listen index) -> (what it was made from, TlsServer)
        object challenges       # Challenges that ACME servers look for now
        dict specs              # frontend name -> (Frontend, Spec) in force
        object steps            # StepBook of the snapshot in force
        object ticket_keys      # of TLS sessions
        dict proxies            # (frontend name, listen index) -> Networks that begin with a PROXY header
        dict servers            # (backend, address) -> (settings, Server)
        dict captured           # ('request', frontend) and ('response', backend) -> Captured
        UdpIo udp               # None until there is a frontend of mode udp
        dict listeners          # number of the listening socket -> (frontend name, listen index, Listener)
        object idle_callback
        bint watched            # somebody reads the access log along
        bint closed

    def __init__(self, Region region not None, int worker, loop, *, int max_connections=0):
        """`worker` is the slot in `region` whose ledger and counters this engine writes.

        max_connections: client connections above which accepting pauses; 0 = no limit but the descriptors.
        """
        self.region = region
        self.worker = worker
        self.loop = loop
        self.reactor = Reactor()
        self.core = Core(self.reactor, AccessLog("off"))
        self.core.reporter = ExchangeReporter()
        self.core.holds = Holds(region, worker)
        self.core.max_clients = max_connections if max_connections > 0 else NO_LIMIT
        self.overload = Overload(self.core, region, worker, self.core.max_clients)
        self.sweeper = QueueSweeper(self.core)
        self.core.sweeper = self.sweeper
        self.frontends = {}
        self.contexts = {}
        self.challenges = Challenges()
        self.specs = {}
        self.ticket_keys = (os.urandom(80),)    # until somebody shares some
        self.proxies = {}
        self.servers = {}
        self.captured = {}
        self.listeners = {}
        loop.add_reader(self.reactor.fileno(), self.reactor.run_ready)

    # --- configuration

    def apply(self, spec, assignment, indices=None):
        """Builds the snapshot of `spec` and swaps it in. Raises before anything changed, or not at all.

        `indices`: where listening sockets stand in the `listen` of their frontends now, by number.
        """
        backends = {}
        servers = {}
        for b in spec.backends:
            backends[b.name] = self._backend(b, assignment, servers)
        for b in spec.backends:
            if b.overload is not None and b.overload.backend:
                (<Backend>backends[b.name]).fallback = backends[b.overload.backend]
        steps = StepBook(self.core, spec, backends, self.steps)
        frontends = {f.name: self._frontend(f, spec, backends, assignment, steps) for f in spec.frontends}
        contexts = {}
        for f, index, _, tls in tls_listeners(spec):
            contexts[f.name, index] = made = listener_tls(f, tls, spec, self.contexts.get((f.name, index)))
            (<TlsServer>made[1]).counters = (<Frontend>frontends[f.name]).counters
        proxies = {
            (f.name, index): Networks(listen.proxy_protocol)
            for f in spec.frontends for index, listen in enumerate(f.listen) if listen.proxy_protocol
        }
        access, errors = self._logs(spec.log)
        captured = self._captured(frontends, backends)
        # From here on nothing fails.
        self.captured = captured
        if self.steps is not None:
            self.steps.close()
        self.steps = steps
        if access is not self.core.log:
            # What the old target will not take at once is lost, as it would be if it stalled.
            for old in (self.core.log, self.core.errors):
                if old is not None:
                    old.close(CLOSE_LOG)
        if self.watched and access is not self.core.log:
            access.watch()
        self.core.log = access
        self.core.errors = errors
        self.log_spec = spec.log
        self.frontends = frontends
        self.contexts = contexts
        self.proxies = proxies
        self.specs = {f.name: (f, spec) for f in spec.frontends}
        if contexts:
            self.tickets(self.ticket_keys)
        self.challenge(self.challenges)
        for key, (_, server) in self.servers.items():
            kept = servers.get(key)
            if kept is None or kept[1] is not server:
                (<Server>server).retired = True
                pool_clear(server)
        self.servers = servers
        for number, (name, index, listener) in list(self.listeners.items()):
            index = (indices or {}).get(number, index)
            if name in frontends and isinstance(listener, Listener):
                listener = self._speaking(listener, frontends[name], contexts.get((name, index), (None, None))[1])
            self.listeners[number] = (name, index, listener)
            if name in frontends:
                (<ListenerBase>listener).replace(frontends[name], contexts.get((name, index), (None, None))[1])
                if isinstance(listener, Listener):
                    (<Listener>listener).expect(self.proxies.get((name, index)))
        clients_count(self.core)
        self.overload.configure(*overload_settings(spec))
        self.reactor.settle()

    def certificates(self, str frontend, int index, tls):
        """Handshakes of this listener that begin from now on use the certificates in `tls`. Raises, nothing changed."""
        for name, place, listener in self.listeners.values():
            if (name, place) == (frontend, index):
                f, spec = self.specs[frontend]
                self.contexts[name, place] = made = listener_tls(f, tls, spec)
                (<TlsServer>made[1]).counters = (<Frontend>self.frontends[frontend]).counters
                (<Listener>listener).replace((<Listener>listener).front, made[1])
        self.challenge(self.challenges)

    def challenge(self, challenges):
        """What ACME servers look for is shown to them from now on, in answers and in handshakes."""
        if challenges != self.challenges or challenges != Challenges():
            present(challenges, self.frontends.values(), [made for _, made in self.contexts.values()])
        self.challenges = challenges

    def tickets(self, keys):
        """Session tickets are made with the first of these keys (80 bytes each) and read with any."""
        self.ticket_keys = keys
        if self.contexts:
            tls_prepare(self.core)
        tls_tickets(self.core, keys)

    def _captured(self, dict frontends, dict backends):
        """Hands the last malformed messages of what stays on to the new snapshot."""
        cdef Frontend front
        cdef Backend backend
        captured = {}
        for name, front in frontends.items():
            front.captured = captured["request", name] = self.captured.get(("request", name), front.captured)
        for name, backend in backends.items():
            backend.captured = captured["response", name] = self.captured.get(("response", name), backend.captured)
        return captured

    def _logs(self, log):
        if self.log_spec == log:
            return self.core.log, self.core.errors
        errors = ErrorLog("stderr", log.level, worker=self.worker)
        return AccessLog(log.access, log.format, errors=errors), errors

    def _backend(self, b, assignment, dict servers):
        cdef Backend backend
        cdef Server server
        cdef ServerSet members = ServerSet()
        cdef Selector selector
        cdef int group = assignment.backends[b.name]
        cdef int index, slot
        made = []
        for slot, s in enumerate(b.servers):
            key = (b.name, s.address)
            index = assignment.servers[key]
            settings = (s.name, s.resolved, b.pool, s.send_proxy, b.proxy_tlvs, b.tcp, b.tls,
                        b.tls and (b.tls.pem, b.tls.authorities))
            old = self.servers.get(key)
            if old is not None and old[0] == settings:
                server = old[1]
            else:
                server = make_server(self.core, s, b)
                server.counters = self.region.server_counters(self.worker, index)
            servers[key] = (settings, server)
            made.append(server)
            members.attach(slot, self.region.server(index), self.region.ledger(self.worker, index),
                           tier_of(s.backup, s.tier))
            members.identify(slot, str(s.address))
        members.attach_group(self.region.group(group))
        selector = make_selector(b.balance.algorithm, balance_options(b.balance), members)
        backend = Backend(b.name, selector, made)
        backend.connector = TcpConnector() if b.mode == "tcp" else H1Connector()
        backend.counters = self.region.group_counters(self.worker, group)
        backend.connect_ms = milliseconds(b.timeouts.connect)
        backend.server_ms = milliseconds(b.timeouts.server)
        backend.queue_ms = milliseconds(b.timeouts.queue)
        backend.tunnel_ms = milliseconds(b.timeouts.tunnel)
        backend.half_closed_ms = milliseconds(b.timeouts.half_closed)
        backend.retries = b.retries
        kinds = (*b.retry.on, "timeout") if b.retry.try_timeout else b.retry.on
        backend.retry = RetryPolicy(selector, kinds, b.retry.statuses, b.retry.budget, b.retry.budget_min)
        backend.retry.backoff_ms = milliseconds(b.retry.backoff)
        backend.retry.backoff_max_ms = milliseconds(b.retry.backoff_max)
        backend.try_ms = milliseconds(b.retry.try_timeout)
        backend.replay_bytes = b.retry.buffer
        if b.mode == "http" and (b.retry.hedge or b.retry.hedge_percentile):
            backend.hedge = Hedge()
            backend.hedge.fixed_ms = milliseconds(b.retry.hedge)
            backend.hedge.share = b.retry.hedge_percentile
            backend.hedge.buckets = &backend.counters[COUNTERS + TIME_RESPONSE * BUCKETS]
        backend.retry.line = self.region.group(group)
        backend.retry.counters = backend.counters
        backend.retry.owner = self.region
        backend.queue.limit = b.max_queue
        backend.queue.owner = self.region
        backend.queue.line = self.region.group(group)
        backend.queue.rows = self.region.held(0, group)
        backend.queue.held = self.region.held(self.worker, group)
        backend.queue.stride = MAX_GROUPS
        backend.queue.workers = self.region.slots_in_use()
        backend.bandwidth = backend_bandwidth(b, self.core.holds)
        if b.overload is not None and b.overload.respond is not None:
            fixed = b.overload.respond
            backend.overload = Respond(fixed.status, fixed.body, fixed.content_type, fixed.headers, ())
        if b.circuit_breaker is not None or b.adaptive_concurrency is not None:
            backend.guard = make_guard(b, assignment, members, self.region, self.worker)
            if backend.guard.servers is not None:
                selector.guard(backend.guard.servers)
        backend.key_kind, backend.key_name = hash_key(b.balance)
        if b.affinity is not None:
            backend.affinity = make_affinity(self.region, self.worker, b, assignment)
        return backend

    def _frontend(self, f, spec, dict backends, assignment, steps):
        cdef Frontend front
        if f.mode == "udp":
            front = udp_frontend(spec, f, backends.get(f.backend))
            front.counters = self.region.frontend_counters(self.worker, assignment.frontends[f.name])
            return front
        actions = [self._action(f, r, spec, backends, steps) for r in (*f.routes, None)]
        if f.hsts is not None and any(listen.tls for listen in f.listen):
            for action, route in zip(actions, (*f.routes, None)):
                (<Action>action).secure = self._action(with_hsts(f), route, spec, backends, steps)
        for number, action in enumerate(actions, 1):
            if (<Action>action).secure is not None:
                (<Action>action).secure.route = route_name(f, number - 1).encode()
            (<Action>action).route = route_name(f, number - 1).encode()
        front = Frontend(f.name, Router(() if f.mode == "tcp" else f.routes), actions)
        front.sessions = TcpRouter(f.routes) if f.mode == "tcp" else None
        front.counters = self.region.frontend_counters(self.worker, assignment.frontends[f.name])
        front.limits.bytes = f.limits.header_bytes
        front.limits.count = f.limits.header_count
        front.limits.uri = f.limits.uri
        front.max_body = f.limits.body
        front.header_ms = milliseconds(f.timeouts.header)
        front.client_ms = milliseconds(f.timeouts.client)
        front.idle_ms = milliseconds(f.timeouts.idle)
        if f.limits.min_request_rate or f.limits.min_response_rate:
            front.pace_ms = max(milliseconds(f.limits.min_rate_window), 1)
            front.least_in = <uint64_t>(f.limits.min_request_rate * f.limits.min_rate_window)
            front.least_out = <uint64_t>(f.limits.min_response_rate * f.limits.min_rate_window)
        front.tcp = f.mode == "tcp"
        front.abort_on_close = f.abort_on_close
        front.redirect_https = f.redirect_https
        front.max_connections = f.max_connections
        front.line = &self.region.limits.fronts[<int>assignment.frontends[f.name]]
        front.line_held = &self.region.limits.fronts_held[
            <size_t>self.worker * MAX_FRONTENDS + <size_t>assignment.frontends[f.name]]
        front.accepts = make_accepts(f, self.core.holds, self.region)
        front.traces = f.forwarded.traceparent
        front.spans = front.traces and spec.tracing.endpoint != ""
        front.asks_clients = any(listen.tls and listen.tls.client_auth != "none" for listen in f.listen)
        if spec.tracing.sample < 1:
            front.trace_text = b"%016x" % int(max(spec.tracing.sample, 0) * 2.0 ** 64)
            front.trace_share = front.trace_text
        if f.explain:
            front.explain = Networks(f.explain)
        if f.forwarded.trust:
            front.trust = Networks(f.forwarded.trust)
        return front

    def _action(self, f, route, spec, dict backends, steps, *, bint variant=False):
        """`variant`: one side of a split, whose route has been through everything that comes before."""
        cdef Action action = Action()
        name = f.backend if route is None else route.backend
        b = next(b for b in spec.backends if b.name == name) if name else None
        chain, answers = header_rules(f, route, b)
        if route is not None:
            if route.redirect is not None:
                action.redirect = Redirect(route.redirect.location, route.redirect.status, answers)
            if route.respond is not None:
                fixed = route.respond
                action.respond = Respond(fixed.status, fixed.body, fixed.content_type, fixed.headers, answers)
        if not variant:
            action.limits = make_limits(f, route, self.core.holds, self.region)
            action.steps = steps.steps(f, route)
            action.bandwidth = make_bandwidth(f, route, self.core.holds)
        if route is not None and route.split is not None and not variant:
            sides = []
            for one, weight in route.split.weights:
                side = self._action(f, dataclasses.replace(route, backend=one), spec, backends, steps,
                                    variant=True)
                (<Action>side).route = route_name(f, f.routes.index(route)).encode()
                (<Action>side).bandwidth = action.bandwidth
                sides.append((side, weight))
            action.split = Split(sides, route.split.key, f"route {f.name} {route.name or f.routes.index(route)}")
        if name:
            action.backend = backends[name]
            action.priority = PRIORITIES[route.priority] if route is not None else PRIORITY_NORMAL
            action.request_plan = RequestPlan([auth_rules(auth_of(spec, f, route)), *chain], forwarded_of(f),
                                              None if route is None else route.rewrite)
            action.response_plan = ResponsePlan(answers)
        return action

    # --- life

    def alone(self):
        """The loop is this engine's: what else is on it may wait for up to 12 ms while there is traffic."""
        self.reactor.stay()

    def listen(self, int number, str frontend, int listen_index, sock):
        """Accepts on a copy of the listening socket `sock` for `frontend`'s `listen[listen_index]`.

        `number` names it from now on; it keeps its meaning while indices move.
        """
        fd = os.dup(sock.fileno())
        try:
            os.set_blocking(fd, False)
            where = sock.getsockname()
            port = where[1] if isinstance(where, tuple) else 0
            context = self.contexts.get((frontend, listen_index), (None, None))[1]
            if sock.type == socket.SOCK_DGRAM:
                if self.udp is None:
                    self.udp = UdpIo(self.core)
                listener = udp_listener(self.udp, self.frontends[frontend], fd, port)
            else:
                listener = Listener(self.core, self.frontends[frontend], fd, port, context)
                listener.expect(self.proxies.get((frontend, listen_index)))
        except BaseException:
            os.close(fd)
            raise
        self.listeners[number] = (frontend, listen_index, listener)

    def _speaking(self, Listener old, Frontend front, context):
        """The listener itself, or where `front` is of another mode one in its place: its connections stay what they
        are, with the frontend they had, until they end."""
        cdef Listener new
        if old.front.tcp == front.tcp:
            return old
        new = Listener(self.core, front, os.dup(old.fd), old.port, context)
        old.stop()
        clients_retire(self.core, old, RETIRE_MS)
        return new

    def unlisten(self, int number, within):
        """Takes what the queue of the listening socket holds, then lets go of it.

        Its connections close after their next answer, idle ones after `within` seconds at the latest; tunnels go on.
        """
        cdef ListenerBase listener
        _, _, listener = self.listeners.pop(number)
        self.reactor.update_clock()
        listener.accept_rest()
        listener.stop()
        clients_retire(self.core, listener, milliseconds(within))
        if isinstance(listener, UdpPort):
            (<UdpPort>listener).leave_all(milliseconds(within))
        self.reactor.settle()

    def stop_accepting(self):
        """Takes what the queues of the listening sockets hold, then lets go of them."""
        cdef ListenerBase listener
        self.reactor.update_clock()
        for _, _, listener in self.listeners.values():
            listener.accept_rest()
            listener.stop()
        self.listeners = {}
        self.reactor.settle()

    def drain(self, patience=0.0):
        """`Connection: close` on what is in flight; idle connections are closed.

        `patience`: seconds that an idle connection may have for a last request, where another process takes the next.
        """
        self.reactor.update_clock()
        self.core.draining = self.core.parting = True
        if patience:
            clients_retire(self.core, None, milliseconds(patience))
        else:
            clients_drain(self.core, False)
        if self.udp is not None:
            udp_leave(self.udp, NO_LIMIT)
        for _, server in self.servers.values():
            pool_clear(server)
        self.reactor.settle()

    def active(self):
        """Client connections open now."""
        return self.core.clients

    def on_idle(self, callback):
        """Calls back once when `active()` is 0 while draining."""
        self.idle_callback = callback
        self._check_idle()

    def _check_idle(self):
        if self.idle_callback is not None and self.core.draining and self.core.clients == 0:
            callback, self.idle_callback = self.idle_callback, None
            callback()

    def tick(self):
        """Every 100 ms: hands the logs over, looks at what runs out and whether a drain is done."""
        self.core.log.flush()
        if not self.core.draining:
            self.reactor.update_clock()
            self.overload.tick([server for _, server in self.servers.values()])
            self.reactor.settle()
        if self.core.errors is not None:
            self.core.errors.flush()
        self._check_idle()

    def reopen_logs(self):
        """Closes the log files and opens them again (log rotation)."""
        self.core.log.reopen()
        if self.core.errors is not None:
            self.core.errors.reopen()

    def close(self):
        """Drops everything at once and flushes the logs. May be repeated."""
        if self.closed:
            return
        self.closed = True
        self.reactor.update_clock()
        self.core.draining = self.core.parting = True
        for _, _, listener in self.listeners.values():
            (<ListenerBase>listener).stop()
        self.listeners = {}
        clients_drain(self.core, True)
        if self.steps is not None:
            self.steps.stop()
        if self.udp is not None:
            udp_leave(self.udp, 0)
            self.reactor.remove(self.udp)
            self.reactor.remove(self.udp.resting)
        for _, server in self.servers.values():
            pool_clear(server)
        self.reactor.settle()
        self.reactor.remove(self.sweeper)
        self.loop.remove_reader(self.reactor.fileno())
        self.core.log.close()
        if self.core.errors is not None:
            self.core.errors.close()

    def recent_log(self):
        """The last lines of the access log, oldest first; None when it is off."""
        return self.core.log.recent()

    def watch_log(self):
        """`recent_log`, and from now on `take_log` gives further lines."""
        lines = self.core.log.watch()
        self.watched = True
        return lines

    def take_log(self):
        """(lines since the last call, how many were lost); as of the last `tick`, or of a `watch_log` after it."""
        return self.core.log.take()

    def unwatch_log(self):
        """Ends `watch_log`."""
        self.watched = False
        self.core.log.unwatch()

    def take_spans(self):
        """(records, how many, how many were lost) since the last call: see fastlb.engine.span_buffer."""
        return self.core.spans.take()

    def connections(self, int most):
        """(client connections, how many there are): see fastlb.engine.connections.client_list."""
        return client_list(self.core, most, self.udp)

    def end_sessions(self, str backend, str address, bint down=False):
        """Ends what is under way at a server, because it is `down` or somebody asks for it; how much that was."""
        self.reactor.update_clock()
        for (name, where), (_, server) in self.servers.items():
            if name == backend and str(where) == address:
                pool_clear(server)
        ended = end_sessions(self.core, backend, address, down=down)
        self.reactor.settle()
        return ended

    def errors(self):
        """The last malformed request of each frontend and response of each backend: see Captured.report; newest first.

        `kind` is request or response, `proxy` the name of the frontend or backend.
        """
        found = [
            {"kind": kind, "proxy": name, **report}
            for (kind, name), captured in self.captured.items()
            if (report := captured.report()) is not None
        ]
        return sorted(found, key=lambda report: report["at"], reverse=True)

    def traffic(self):
        """What was counted of authentication and mirrors: see StepBook.report."""
        return self.steps.report() if self.steps is not None else {"auth": [], "mirrors": []}

    def status(self):
        """What the worker holds, by backend and server, for people and tests."""
        cdef Server server
        return {
            "clients": self.core.clients,
            "batches": self.reactor.batches,
            "awaited": self.reactor.awaited,
            "servers": {
                f"{backend}/{address}": {"open": server.open_count, "idle": server.idle_count}
                for (backend, address), (_, server) in self.servers.items()
            },
        }
