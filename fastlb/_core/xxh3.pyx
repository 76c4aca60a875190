"""XXH3-64 for Python callers: what `xxh3.h` computes for keys and server names, equal to `xxhash.xxh3_64_intdigest`."""


def xxh3_64_intdigest(bytes data not None):
    """XXH3-64 (seed 0) of `data` as an integer in 0..2**64-1.

    O(len(data)). Source: xxHash specification, "XXH3 Algorithm Description".
    """
    return xxh3_64(<const char*>data, len(data))
