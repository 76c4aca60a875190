"""The steps of a snapshot: who is asked about a request before it goes on, and who gets a copy of it."""

import logging
from pathlib import Path

from fastlb.engine.core cimport Core
from fastlb.engine.credentials cimport CredentialStep
from fastlb.engine.failures cimport Failures
from fastlb.engine.forward_auth cimport ForwardStep
from fastlb.engine.mirror cimport MirrorStep
from fastlb.engine.networks cimport Networks
from fastlb.engine.router cimport Router
from fastlb.engine.upstream cimport Action, Frontend
from fastlb.http.fields cimport MAX_FIELDS
from fastlb.http.rewrite cimport RequestPlan, ResponsePlan

from fastlb.auth import basic, htpasswd
from fastlb.control.auth_rules import auth_of, auth_rules, mirror_of
from fastlb.control.rule_order import forwarded_of, header_rules, route_name
from fastlb.control.secrets import read_secret
from fastlb.control.steps import make_steps
from fastlb.errors import ConfigError, Problem

EVERYBODY = ("0.0.0.0/0", "::/0", "unix")

log = logging.getLogger("fastlb.auth")


cdef class StepBook:
    """Made for one Spec, and closed when another one has taken its place. `before`: the one whose counts go on.

    Raises ConfigError where a file or secret cannot be used; nothing has begun then.
    """

    cdef:
        Core core
        object spec
        dict backends
        dict asking             # name of [auth] -> (Step, checker or None)
        dict mirrors            # (frontend, route) -> MirrorStep

    def __init__(self, Core core not None, spec, dict backends, StepBook before=None):
        self.core = core
        self.spec = spec
        self.backends = backends
        self.asking = {}
        self.mirrors = {} if before is None else before.mirrors
        used = {auth.name for f in spec.frontends for r in (None, *f.routes) if (auth := auth_of(spec, f, r))}
        try:
            for auth in spec.auth:
                if auth.name in used:
                    self.asking[auth.name] = self._asking(auth)
        except BaseException:
            self.close()
            raise
        earlier, self.mirrors = self.mirrors, {}
        for f in spec.frontends:
            for number, route in enumerate((*f.routes, None)):
                rules = mirror_of(f, route)
                name = f.backend if route is None else route.backend
                if rules is None or not name:
                    continue
                key = (f.name, route_name(f, number))
                self.mirrors[key] = made = self._mirror(f, route, rules, key[1])
                old = earlier.get(key)
                if old is not None and old.backend == made.backend:
                    made.go_on_from(old)

    def steps(self, f, route):
        """The steps of the route's requests, in their order; None = there are none."""
        auth = auth_of(self.spec, f, route)
        ask = self.asking[auth.name][0] if auth is not None else None
        number = len(f.routes) if route is None else f.routes.index(route)
        copy = self.mirrors.get((f.name, route_name(f, number)))
        return make_steps(f, route, ask, copy)

    def close(self):
        """Threads end behind what they have begun. The copies that are under way go on."""
        for _, checker in self.asking.values():
            if checker is not None:
                checker.close()

    def stop(self):
        """Ends everything."""
        self.close()
        for mirror in self.mirrors.values():
            mirror.close()

    def report(self):
        """What this worker has counted: {"auth": [...], "mirrors": [...]}."""
        return {
            "auth": [{"name": name, "counts": step.figures()} for name, (step, _) in self.asking.items()],
            "mirrors": [mirror.report() for mirror in self.mirrors.values()],
        }

    def _asking(self, auth):
        if auth.forward is not None:
            return self._forward(auth), None
        where = f"auth.{auth.name}"
        try:
            checker = (self._passwords(auth.name, auth.basic) if auth.basic is not None
                       else self._tokens(auth.name, auth.jwt))
        except (ValueError, OSError) as error:      # files may have changed since the configuration was checked
            raise ConfigError([Problem(where, "", str(error))]) from error
        if auth.basic is not None:
            return CredentialStep(self.core, checker, "basic", basic.challenge(auth.basic.realm), longest=1400), checker
        from fastlb.auth import tokens
        return CredentialStep(self.core, checker, "bearer", tokens.challenge(auth.jwt.realm), cookie=auth.jwt.cookie,
                              longest=auth.jwt.max_bytes, patience=auth.jwt.timeout + 5.0), checker

    def _passwords(self, str name, rules):
        users = htpasswd.read(rules.file) if rules.file else {}
        for line in rules.users:
            name, stored = htpasswd.entry(line)
            users.setdefault(name, stored)
        return basic.Passwords(rules, users, self._failures(name, rules))

    def _tokens(self, str name, rules):
        from fastlb.auth import keys, tokens
        if rules.secret:
            found = keys.Fixed([keys.secret(read_secret(rules.secret, "auth"), rules.algorithms)])
        elif rules.key:
            found = keys.Fixed([keys.public(Path(rules.key).read_bytes(), rules.algorithms)])
        else:
            found = keys.Fetched(rules.jwks, refresh=rules.refresh, pause=rules.refresh_min, stale=rules.stale,
                                 timeout=rules.timeout, ca=rules.jwks_ca, allowed=rules.algorithms)
            found.start()
        return tokens.Tokens(rules, found, self._failures(name, rules))

    def _failures(self, str name, rules):
        return Failures(self.core.holds, f"auth {name}", rules.failures, rules.window)

    def _forward(self, auth):
        cdef Action action = Action()
        name = auth.forward.backend
        backend = next(b for b in self.spec.backends if b.name == name)
        action.backend = self.backends[name]
        action.request_plan = RequestPlan([backend.request_headers], None)
        action.response_plan = ResponsePlan()
        # It is told of the client in fields that we write ourselves: nothing of them is to be dropped.
        return ForwardStep(self.core, inner_frontend(auth.name, action, EVERYBODY), action, auth.forward)

    def _mirror(self, f, route, rules, str where):
        cdef Action action = Action()
        backend = next(b for b in self.spec.backends if b.name == rules.backend)
        chain, _ = header_rules(f, route, backend)
        action.backend = self.backends[rules.backend]
        action.request_plan = RequestPlan([auth_rules(auth_of(self.spec, f, route)), *chain], forwarded_of(f),
                                          None if route is None else route.rewrite)
        action.response_plan = ResponsePlan()
        return MirrorStep(self.core, inner_frontend(f.name, action, f.forwarded.trust), action, rules, f.name, where)


cdef Frontend inner_frontend(str name, Action action, trust):
    """What requests of the proxy's own come in by."""
    cdef Frontend front = Frontend(name, Router(()), [action])
    front.internal = True
    front.limits.bytes = 1 << 18
    front.limits.count = MAX_FIELDS
    front.limits.uri = 1 << 18
    if trust:
        front.trust = Networks(trust)
    return front
