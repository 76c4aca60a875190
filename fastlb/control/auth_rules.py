"""Which table of [auth] asks a request, and what of its head belongs to it alone."""

from __future__ import annotations

from fastlb.spec import Auth, Frontend, HeaderRules, Mirror, Route, Spec

NOBODY = "none"


def auth_of(spec: Spec, frontend: Frontend, route: Route | None) -> Auth | None:
    """The route's own where it names one, else the frontend's; None = nobody is asked."""
    name = (route.auth if route is not None else "") or frontend.auth
    return next((auth for auth in spec.auth if auth.name == name), None) if name != NOBODY else None


def mirror_of(frontend: Frontend, route: Route | None) -> Mirror | None:
    """Likewise; only for requests that go to a backend."""
    own = route.mirror if route is not None else None
    return own or frontend.mirror


def told_headers(auth: Auth) -> tuple[str, ...]:
    """Headers that tell servers what `auth` found out."""
    if auth.basic is not None:
        return (auth.basic.user_header,) if auth.basic.user_header else ()
    if auth.jwt is not None:
        return tuple(header for _, header in auth.jwt.headers)
    return auth.forward.headers if auth.forward is not None else ()


def auth_rules(auth: Auth | None) -> HeaderRules:
    """What the client sends under these names reaches no server, whether the request is let through with or without an
    own value for them."""
    if auth is None:
        return HeaderRules()
    strip = (auth.basic is not None and auth.basic.strip) or (auth.jwt is not None and auth.jwt.strip)
    names = dict.fromkeys(name.lower() for name in told_headers(auth))
    if strip:
        names["authorization"] = None
    return HeaderRules(remove=tuple(names))


def describe(auth: Auth) -> str:
    """For people."""
    kind = "a password" if auth.basic else "a token" if auth.jwt else "a service"
    asked = f" ({auth.forward.backend})" if auth.forward else ""
    return f"{auth.name}: {kind}{asked}"
