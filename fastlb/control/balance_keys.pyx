"""What the algorithms of backends look at in a request, and their options."""

from fastlb.engine.request_key cimport (
    KEY_COOKIE, KEY_HEADER, KEY_IP, KEY_NONE, KEY_PATH, KEY_QUERY, KEY_URI)

_KEY_KINDS = {
    "": KEY_NONE, "ip": KEY_IP, "path": KEY_PATH, "uri": KEY_URI, "header": KEY_HEADER, "cookie": KEY_COOKIE,
    "query": KEY_QUERY,
}


def hash_key(balance):
    """What a hash algorithm hashes: a kind of find_key, and the name of the header, cookie or parameter."""
    kind, _, name = balance.key.partition(":")
    if balance.algorithm == "ip_hash":
        kind = "ip"
    return _KEY_KINDS[kind], (name.lower() if kind == "header" else name).encode()


def balance_options(balance):
    """Options of the algorithm as `make_selector` knows them."""
    options = {"panic_threshold": balance.panic_threshold, "overprovisioning": balance.overprovisioning}
    if balance.algorithm == "consistent_hash":
        options["method"] = balance.method
        options["bound"] = balance.bound
    return options
