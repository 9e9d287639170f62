"""`hashlib.pbkdf2_hmac` and `hashlib.scrypt`. The host computes what takes long: http://wfn.internal/kdf (docs/capabilities.md)."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from wfn.runtime.network import refuse_while_building

# The outer and inner padding of HMAC (RFC 2104), as tables for bytes.translate.
_OUTER = bytes(byte ^ 0x5C for byte in range(256))
_INNER = bytes(byte ^ 0x36 for byte in range(256))
# OpenSSL's own default, in bytes.
SCRYPT_MEMORY_MAX = 32 * 1024 * 1024
KEY_BYTES_MAX = 2**31 - 1
# From so many iterations on, a request to the host is quicker than Python, by far.
HOST_ITERATIONS_MIN = 1_000


def by_host(function: str, password: bytes, salt: bytes, length: int, **numbers: object) -> bytes:
    """A key that the host computes. Raises OSError while the component is built, and ValueError for what is out of its bounds."""
    refuse_while_building()
    # It needs bindings, which only a component has.
    from wfn.service import Call, Refused, run

    encoded = urlsafe_b64encode(salt).rstrip(b"=").decode()
    query = urlencode({"salt": encoded, "length": length, **numbers})
    try:
        return run(Call("POST", f"kdf/{function}?{query}", lambda reply: reply.body, body=password))
    except Refused as refused:
        raise ValueError(refused.message) from None


def pbkdf2_hmac(hash_name: str, password: bytes, salt: bytes, iterations: int, dklen: int | None = None) -> bytes:
    """PBKDF2 (RFC 8018) with HMAC. Raises ValueError for an unknown hash, or numbers below 1."""
    if not isinstance(hash_name, str):
        raise TypeError(f"hash_name is text, not {type(hash_name).__name__}")
    make: Callable[..., Any] = lambda data=b"": hashlib.new(hash_name, data)  # noqa: E731
    digest = make()
    if dklen is None:
        dklen = digest.digest_size
    if iterations < 1:
        raise ValueError("iteration value must be greater than 0.")
    if not 1 <= dklen <= KEY_BYTES_MAX:
        raise ValueError("key length must be greater than 0.")
    key, salt = bytes(password), bytes(salt)
    if iterations >= HOST_ITERATIONS_MIN:
        try:
            return by_host("pbkdf2", key, salt, dklen, hash=digest.name, iterations=iterations)
        except (OSError, ValueError):
            # While the component is built, or another hash than those of SHA-1 and SHA-2: in Python then.
            pass
    if len(key) > digest.block_size:
        key = make(key).digest()
    key = key.ljust(digest.block_size, b"\0")
    # Both hashes have read their block of the key; each round continues with copies.
    inner, outer = make(key.translate(_INNER)).copy, make(key.translate(_OUTER)).copy
    result = b""
    block = 0
    while len(result) < dklen:
        block += 1
        result += pbkdf2_block(inner, outer, salt + block.to_bytes(4, "big"), iterations)
    return result[:dklen]


def pbkdf2_block(inner: Callable[[], Any], outer: Callable[[], Any], message: bytes, iterations: int) -> bytes:
    """One block of the key: the exclusive or of all rounds."""
    to_number = int.from_bytes
    total = 0
    for _ in range(iterations):
        first = inner()
        first.update(message)
        second = outer()
        second.update(first.digest())
        message = second.digest()
        total ^= to_number(message)
    return total.to_bytes(len(message))


def scrypt(
    password: bytes, *, salt: bytes, n: int, r: int, p: int, maxmem: int = 0, dklen: int = 64
) -> bytes:
    """scrypt (RFC 7914), by the host. Raises ValueError where OpenSSL does: bad numbers, or more memory than `maxmem` bytes.

    Raises it also for what is out of the host's bounds, and OSError while the component is built.
    """
    if n < 2 or n & (n - 1):
        raise ValueError("n must be a power of 2.")
    if r < 1 or p < 1 or r * p >= 2**30:
        raise ValueError("r and p must be at least 1, and r * p below 2**30.")
    if not 1 <= dklen <= KEY_BYTES_MAX:
        raise ValueError("dklen must be greater than 0 and smaller than INT_MAX")
    if 128 * r * (n + p + 2) > (maxmem or SCRYPT_MEMORY_MAX):
        raise ValueError("memory limit exceeded")
    return by_host("scrypt", bytes(password), bytes(salt), dklen, n=n, r=r, p=p)
