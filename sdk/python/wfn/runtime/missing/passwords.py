"""`hashlib.pbkdf2_hmac` and `hashlib.scrypt` in Python, as fast as Python gets."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from typing import Any

# The outer and inner padding of HMAC (RFC 2104), as tables for bytes.translate.
_OUTER = bytes(byte ^ 0x5C for byte in range(256))
_INNER = bytes(byte ^ 0x36 for byte in range(256))
# OpenSSL's own default, in bytes.
SCRYPT_MEMORY_MAX = 32 * 1024 * 1024
KEY_BYTES_MAX = 2**31 - 1
# The most of n * r * p. It takes some 10 seconds; Werkzeug's own choice, 2**18, takes minutes, longer than any call may.
SCRYPT_WORK_MAX = 2**13


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
    """scrypt (RFC 7914). Raises ValueError where OpenSSL does: bad numbers, or more memory than `maxmem` bytes.

    Raises it also for more than SCRYPT_WORK_MAX, because the call would time out without a word.
    """
    if n < 2 or n & (n - 1):
        raise ValueError("n must be a power of 2.")
    if r < 1 or p < 1 or r * p >= 2**30:
        raise ValueError("r and p must be at least 1, and r * p below 2**30.")
    if not 1 <= dklen <= KEY_BYTES_MAX:
        raise ValueError("dklen must be greater than 0 and smaller than INT_MAX")
    if 128 * r * (n + p + 2) > (maxmem or SCRYPT_MEMORY_MAX):
        raise ValueError("memory limit exceeded")
    if n * r * p > SCRYPT_WORK_MAX:
        raise ValueError(
            f"scrypt with n={n}, r={r}, p={p} takes minutes in a component; hash passwords with PBKDF2 instead (docs/python.md)"
        )
    blocks = pbkdf2_hmac("sha256", password, salt, 1, p * 128 * r)
    size = 128 * r
    mixed = b"".join(scrypt_mix(blocks[start : start + size], n, r) for start in range(0, len(blocks), size))
    return pbkdf2_hmac("sha256", password, mixed, 1, dklen)


def scrypt_mix(block: bytes, n: int, r: int) -> bytes:
    """scryptROMix of RFC 7914."""
    words = struct.Struct(f"<{32 * r}I")
    state = words.unpack(block)
    rows = []
    for _ in range(n):
        rows.append(words.pack(*state))
        state = block_mix(state, r)
    last = 16 * (2 * r - 1)
    width = len(block)
    for _ in range(n):
        row = rows[state[last] & (n - 1)]
        both = int.from_bytes(words.pack(*state), "little") ^ int.from_bytes(row, "little")
        state = block_mix(words.unpack(both.to_bytes(width, "little")), r)
    return words.pack(*state)


def block_mix(state: tuple[int, ...], r: int) -> tuple[int, ...]:
    """scryptBlockMix of RFC 7914."""
    previous = state[16 * (2 * r - 1) :]
    even: list[int] = []
    odd: list[int] = []
    for index in range(2 * r):
        start = 16 * index
        previous = salsa20_8([a ^ b for a, b in zip(previous, state[start : start + 16])])
        (odd if index & 1 else even).extend(previous)
    return tuple(even + odd)


def _salsa_source() -> str:
    """The eight rounds of Salsa20 written out: without a loop and without a list, they take a third of the time."""
    quarters = (
        (0, 4, 8, 12), (5, 9, 13, 1), (10, 14, 2, 6), (15, 3, 7, 11),
        (0, 1, 2, 3), (5, 6, 7, 4), (10, 11, 8, 9), (15, 12, 13, 14),
    )  # fmt: skip
    names = ",".join(f"x{i}" for i in range(16))
    lines = ["def salsa20_8(x):", f" {names}=x", " for _ in (0,1,2,3):"]
    for a, b, c, d in quarters:
        for target, first, second, bits in ((b, a, d, 7), (c, b, a, 9), (d, c, b, 13), (a, d, c, 18)):
            lines.append(f"  t=(x{first}+x{second})&0xffffffff")
            lines.append(f"  x{target}^=((t<<{bits})&0xffffffff)|(t>>{32 - bits})")
    sums = ",".join(f"(x{i}+x[{i}])&0xffffffff" for i in range(16))
    lines.append(f" return ({sums})")
    return "\n".join(lines)


_namespace: dict[str, Any] = {}
exec(compile(_salsa_source(), "<salsa20>", "exec"), _namespace)
salsa20_8: Callable[[list[int]], tuple[int, ...]] = _namespace["salsa20_8"]
