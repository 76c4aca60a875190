"""What single values look like: names, host and path patterns, header names and values, networks, targets.

Every function takes what the file holds and returns the value in its canonical form, or raises `Invalid`.
"""

from __future__ import annotations

import ipaddress
import re
import shlex
from urllib.parse import unquote, urlsplit

from . import units
from .address import parse_server
from .suggest import Invalid, listed, nearest, verified

# RFC 9110 section 5.6.2
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:\-]{0,63}", re.ASCII)
_HOST = re.compile(
    r"[a-z0-9_](?:[a-z0-9_\-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_\-]{0,61}[a-z0-9_])?)*\.?", re.ASCII
)
_ACCOUNT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@\-]{0,254}\$?", re.ASCII)
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")

TOKEN_PATTERN = r"^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$"
NAME_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9_.:\-]{0,63}$"
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE")
HASH_KEYS = ("ip", "path", "uri", "header:NAME", "cookie:NAME", "query:NAME")
PLACEHOLDERS = ("scheme", "host", "port", "path", "query", "uri")
# These say how a message is delimited or belong to one hop: fastlb writes them itself (RFC 9110 section 7.6.1).
FRAMING_HEADERS = frozenset(
    (
        "connection",
        "content-length",
        "http2-settings",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)


def text(value: object, what: str = "a string") -> str:
    if not isinstance(value, str):
        raise Invalid(f"must be {what}")
    return value


@verified
def name(value: object) -> str:
    """Of a frontend, backend, server or route. No spaces and slashes: the access log separates with them."""
    found = text(value, "a name")
    if not _NAME.fullmatch(found):
        guess = re.sub(r"[^A-Za-z0-9_.:\-]+", "_", found, flags=re.ASCII).strip("_-.:")[:64]
        raise Invalid("a name has 1 to 64 letters, digits, '_', '-', '.' and ':'", guess)
    return found


@verified
def header_name(value: object) -> str:
    found = text(value, "a header name")
    if not _TOKEN.fullmatch(found):
        guess = found.strip().rstrip(":").replace(" ", "-")
        raise Invalid("not a valid header name", guess if _TOKEN.fullmatch(guess) else "")
    return found


@verified
def header_value(value: object) -> str:
    """RFC 9110 section 5.5: no control characters but TAB, no white space at the ends."""
    found = text(value)
    for bad, label in (("\r", "CR"), ("\n", "LF"), ("\0", "NUL")):
        if bad in found:
            raise Invalid(f"a header value cannot hold {label}")
    if any(c != "\t" and (c < " " or c == "\x7f") for c in found):
        raise Invalid("a header value cannot hold control characters")
    if found != found.strip(" \t"):
        raise Invalid("a header value cannot begin or end with white space", found.strip(" \t"))
    return found


def ruled_header_name(value: object) -> str:
    """The name of a header that a rule may change."""
    found = header_name(value)
    if found.lower() in FRAMING_HEADERS:
        raise Invalid("fastlb writes this header itself; no rule can change it")
    return found


@verified
def query_text(value: object) -> str:
    """Name or value of a query parameter, decoded; anything but NUL."""
    found = text(value)
    if "\0" in found:
        raise Invalid("cannot hold NUL")
    return found


@verified
def method(value: object) -> str:
    found = text(value, "a method")
    if not _TOKEN.fullmatch(found):
        raise Invalid("not a valid method", nearest(found.strip(), METHODS))
    if found not in METHODS and found.upper() in METHODS:
        raise Invalid("methods are upper case", found.upper())
    if found == "CONNECT":
        raise Invalid("CONNECT is always refused")
    return found


@verified
def network(value: object) -> str:
    """An address or a network in CIDR form; an address becomes a network of one."""
    found = text(value, 'a network, such as "10.0.0.0/8"').strip()
    try:
        return str(ipaddress.ip_network(found))
    except ValueError:
        pass
    try:
        guess = str(ipaddress.ip_network(found, strict=False))
    except ValueError:
        raise Invalid('not a network or an address, such as "10.0.0.0/8" or "2001:db8::/32"') from None
    raise Invalid("the address has bits outside of its network", guess)


@verified
def host_pattern(value: object) -> str:
    """'api.example.com' or '*.example.com', in lower case. Addresses stand for themselves, IPv6 in brackets."""
    found = text(value, "a host name").strip()
    lower = found.lower()
    if lower == "*":
        raise Invalid("leave `host` out to match every host")
    if "://" in lower:
        raise Invalid("a host has no scheme and no path", urlsplit(lower).hostname or "")
    if not lower.isascii():
        try:
            guess = lower.removeprefix("*.").encode("idna").decode("ascii")
        except UnicodeError:
            guess = ""
        raise Invalid("international names are written in their ASCII form", lower[:2] * lower.startswith("*.") + guess)
    if lower.startswith("["):
        literal, bracket, rest = lower[1:].partition("]")
        try:
            canonical = f"[{ipaddress.IPv6Address(literal)}]"
        except ValueError:
            raise Invalid("not a valid IPv6 address") from None
        if not bracket or (rest and not rest.startswith(":")):
            raise Invalid("not a valid IPv6 address", canonical)
        if rest:
            raise Invalid("hosts are compared without their port", canonical)
        return canonical
    if "/" in lower:
        raise Invalid("a host has no path; use `path`", lower.partition("/")[0])
    if re.search(r":[0-9]*$", lower):
        raise Invalid("hosts are compared without their port", lower.partition(":")[0])
    base = lower.removeprefix("*.")
    if "*" in base:
        raise Invalid("the wildcard of a host is a whole first label, as in '*.example.com'")
    if not _HOST.fullmatch(base) or len(base) > 253:
        raise Invalid("not a valid host name")
    return lower.removesuffix(".")


@verified
def host_header(value: object) -> str:
    """What the Host header holds: a host and perhaps a port."""
    found = text(value, "a host name")
    if not found:
        raise Invalid("a request has exactly one Host, and it is not empty")
    if found != found.strip():
        raise Invalid("not a valid host name", found.strip())
    host, colon, port = found.rpartition(":")
    if not (colon and port.isascii() and port.isdecimal() and int(port) <= 65535):
        host, colon, port = found, "", ""
    if "*" in host:
        raise Invalid("no pattern here: a host name is needed")
    return host_pattern(host) + colon + port


def check_host(value: object) -> str:
    """The Host header of a health check; '' = the address of the server."""
    return "" if value == "" else host_header(value)


@verified
def path_pattern(value: object) -> str:
    """Exact '/a', prefix '/a/*', glob '/a/*/c'. Compared with the decoded path, whose dot segments are resolved."""
    found = _path(value)
    if "**" in found:
        raise Invalid("'**' has no meaning; '/*' at the end matches any depth", re.sub(r"\*\*+", "*", found))
    segments = unquote(found).split("/")[1:]
    if "." in segments or ".." in segments:
        raise Invalid("can never match: requests have no dot segments left when they are compared")
    if "" in segments[:-1]:
        raise Invalid("can never match: requests have no double slashes left", re.sub(r"//+", "/", found))
    return found


def _path(value: object) -> str:
    found = text(value, "a path")
    if not found.startswith("/"):
        raise Invalid("a path begins with '/'", "/" + found if found and "://" not in found else "/*")
    for mark, hint in (("?", "a path has no query; use `query`"), ("#", "a path has no fragment")):
        if mark in found:
            raise Invalid(hint, found.partition(mark)[0])
    if re.search(r"%(?![0-9A-Fa-f]{2})", found):
        raise Invalid("'%' begins an escape of two hexadecimal digits; a percent sign is %25")
    if "%00" in found:
        raise Invalid("a path cannot hold NUL")
    if any(c <= " " or c == "\x7f" for c in found):
        raise Invalid(
            "a path has no spaces and no control characters", found.replace(" ", "%20") if " " in found else ""
        )
    return found


@verified
def plain_path(value: object) -> str:
    """A path without pattern: of a health check or a rewrite."""
    found = _path(value)
    if "*" in found:
        raise Invalid("no pattern here: '*' would be taken literally")
    return found


@verified
def rewritten_path(value: object) -> str:
    """A path, and a query if need be, that takes the place of the client's."""
    found = text(value, "a path")
    if not found.startswith("/"):
        raise Invalid("a path begins with '/'", "/" + found if found and "://" not in found else "/")
    if any(c <= " " or c == "\x7f" for c in found):
        raise Invalid(
            "a path has no spaces and no control characters", found.replace(" ", "%20") if " " in found else ""
        )
    if "#" in found:
        raise Invalid("a path has no fragment", found.partition("#")[0])
    return found


@verified
def check_path(value: object) -> str:
    """The request target of a health check: a path, and a query if need be."""
    found = text(value, "a path")
    if not found.startswith("/"):
        raise Invalid("a path begins with '/'", "/" + found if found and "://" not in found else "/")
    if not found.isascii() or any(c <= " " or c == "\x7f" for c in found) or "#" in found:
        raise Invalid("a path has no spaces, control characters, '#' or letters outside ASCII")
    return found


@verified
def check_type(value: object) -> str:
    """http, tcp, udp, exec, or python:MODULE:FUNCTION."""
    kinds = ("http", "tcp", "udp", "exec", "python:MODULE:FUNCTION")
    found = text(value, listed(kinds))
    if found in kinds[:4]:
        return found
    if found.startswith("python:"):
        if not re.fullmatch(r"python:[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*(?:\.[^\W\d]\w*)*", found):
            raise Invalid("must be python:MODULE:FUNCTION, such as python:checks:ready")
        return found
    raise Invalid(
        f"must be {listed(kinds)}", nearest(found, kinds[:4], {"dns": "udp", "https": "http", "connect": "tcp"})
    )


@verified
def regex(value: object) -> str:
    found = text(value, "a regular expression")
    try:
        re.compile(found.encode())
    except re.error as error:
        raise Invalid(f"not a regular expression: {error}") from None
    return found


@verified
def ip_literal(value: object) -> str:
    found = text(value, "an address")
    if found:
        try:
            found = str(ipaddress.ip_address(found.strip("[]")))
        except ValueError:
            raise Invalid("must be an IPv4 or IPv6 address; a name would have to be looked up") from None
    return found


def command(value: object) -> list[str]:
    """A list of words, or a text that is split as a shell would."""
    if isinstance(value, str):
        try:
            return shlex.split(value)
        except ValueError as error:
            raise Invalid(f"not a command: {error}") from None
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise Invalid("must be a program and its arguments, as a list or a text")
    return list(value)


@verified
def location(value: object) -> str:
    """The target of a redirect: a URL or a path, in which {scheme} {host} {port} {path} {query} {uri} are filled in."""
    found = text(value, "the target of a redirect")
    if not found:
        raise Invalid("a redirect needs a target")
    if any(c <= " " or c == "\x7f" for c in found):
        raise Invalid("a location has no spaces and no control characters")
    for match in _PLACEHOLDER.finditer(found):
        if match[1] not in PLACEHOLDERS:
            guess = nearest(match[1], PLACEHOLDERS)
            raise Invalid(
                f"unknown placeholder {match[0]}; known are {listed('{' + p + '}' for p in PLACEHOLDERS)}",
                found.replace(match[0], "{" + guess + "}") if guess else "",
            )
    if "{" in (rest := _PLACEHOLDER.sub("", found)) or "}" in rest:
        raise Invalid("a placeholder is a name in braces, such as {path}")
    if not re.match(r"([a-z][a-z0-9+.\-]*|\{scheme\})://.|/|\{(path|uri)\}", found, re.ASCII | re.IGNORECASE):
        raise Invalid("a location is a URL such as https://example.com/ or a path that begins with '/'", _url(found))
    return found


def _url(found: str) -> str:
    return f"https://{found}" if re.match(r"[A-Za-z0-9\-]+(\.[A-Za-z0-9\-]+)+", found, re.ASCII) else ""


@verified
def hash_key(value: object) -> str:
    """ip | path | uri | header:NAME | cookie:NAME | query:NAME."""
    found = text(value, f"one of {listed(HASH_KEYS)}")
    kind, colon, rest = found.partition(":")
    if kind in ("ip", "path", "uri"):
        if colon:
            raise Invalid(f"{kind} takes no name", kind)
        return found
    if kind in ("header", "cookie", "query"):
        if not rest:
            raise Invalid(f"the name is missing: {kind}:NAME")
        if kind == "query":
            if any(c <= " " or c in "&=#\x7f" for c in rest):
                raise Invalid("not a valid name of a query parameter")
        elif not _TOKEN.fullmatch(rest):
            raise Invalid(f"not a valid {kind} name")
        return found
    guess = nearest(
        kind, ("ip", "path", "uri", "header", "cookie", "query"), {"source": "ip", "src": "ip", "hdr": "header"}
    )
    if guess in ("header", "cookie", "query"):
        guess = f"{guess}:{rest}" if rest else f"{guess}:NAME"
    if not guess and "-" in found and _TOKEN.fullmatch(found):
        guess = f"header:{found}"
    raise Invalid(f"must be {listed(HASH_KEYS)}", guess)


@verified
def access_log(value: object) -> str:
    """stdout | stderr | off | a file | syslog:udp://host:514 | syslog:unix:/dev/log."""
    found = text(value, "stdout, stderr, off, a file or a syslog target").strip()
    words = ("stdout", "stderr", "off")
    if found in words:
        return found
    if found.startswith("syslog:"):
        return _syslog(found.removeprefix("syslog:"))
    if any(not c.isprintable() for c in found):
        raise Invalid("the name of a file has no control characters")
    if "://" in found:
        raise Invalid("not a log target", f"syslog:{found}" if found.startswith("udp://") else "")
    if not found or ("/" not in found and "." not in found):
        guess = nearest(found, words, {"none": "off", "syslog": "syslog:unix:/dev/log", "-": "stdout"})
        if found == "syslog":
            guess = "syslog:unix:/dev/log"
        raise Invalid(
            "must be stdout, stderr, off, a file (./access.log, /var/log/access.log), "
            "syslog:udp://HOST:514 or syslog:unix:/dev/log",
            guess,
        )
    return found


def _syslog(target: str) -> str:
    if target.startswith("udp://"):
        where = target.removeprefix("udp://")
        if ":" not in where or where.endswith("]"):
            where += ":514"
        return f"syslog:udp://{parse_server(where)}"
    if target.startswith("unix:"):
        return f"syslog:{parse_server(target)}"
    guess = f"syslog:unix:{target}" if target.startswith("/") else ""
    raise Invalid("a syslog target is syslog:udp://HOST:514 or syslog:unix:/dev/log", guess)


@verified
def status_range(value: object) -> tuple[int, int]:
    """200 or "200-399"; both ends count."""
    if isinstance(value, int) and not isinstance(value, bool):
        first = last = value
    elif isinstance(value, str) and (match := re.fullmatch(r"([1-5])xx", value.strip().lower())):
        first, last = int(match[1]) * 100, int(match[1]) * 100 + 99
    elif isinstance(value, str) and (
        match := re.fullmatch(r"([0-9]{3})(?:\s*-\s*([0-9]{3}))?", value.strip(), re.ASCII)
    ):
        first, last = int(match[1]), int(match[2] or match[1])
    else:
        raise Invalid('must be a status or a range of them, such as 200 or "200-399"')
    if not (100 <= first <= 599 and 100 <= last <= 599):
        raise Invalid("a status is from 100 to 599")
    if first > last:
        raise Invalid("a range goes from the lower status to the higher", f"{last}-{first}")
    return first, last


def file_path(value: object) -> str:
    """Path of a file, '' = none."""
    found = text(value, "a path")
    if "\0" in found:
        raise Invalid("a path cannot hold NUL")
    if found.endswith("/"):
        raise Invalid("must be a file, not a directory")
    return found


@verified
def account(value: object) -> str:
    """Name or number of a user or group, '' = none. Whether there is one is known only where the program runs."""
    found = text(value, "a name")
    if found and not _ACCOUNT.fullmatch(found):
        raise Invalid("not a valid name of a user or group", found.strip())
    return found


@verified
def retry_condition(value: object) -> str | tuple[int, int]:
    """A kind of failure, or a status or a range of them from 400 to 599."""
    kinds = ("connect", "closed", "timeout", "malformed")
    if isinstance(value, str) and value in kinds:
        return value
    if isinstance(value, str) and not value[:1].isdigit():
        aliases = {"conn-failure": "connect", "error": "connect", "empty-response": "closed", "reset": "closed"}
        raise Invalid(f"must be {listed(kinds)} or a status", nearest(value, kinds, aliases))
    found = status_range(value)
    if found[0] < 400:
        raise Invalid("only failures are tried again: statuses from 400 to 599")
    return found


@verified
def hedge(value: object) -> tuple[float, float]:
    """(seconds, share): one of them is 0. A duration, or a percentile of the response times, p50 to p99.9."""
    text = value.strip() if isinstance(value, str) else ""
    if text.startswith("p"):
        try:
            share = float(text[1:]) / 100
        except ValueError:
            share = 0.0
        if not 0.5 <= share <= 0.999:
            raise Invalid("must be a percentile from p50 to p99.9, or a duration")
        return 0.0, share
    return units.duration(value), 0.0
