"""Compress a text as bgzip does: gzip in blocks, which tabix and genome browsers can index."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator

BLOCK = 65280  # bytes of text in a block, as in bgzip, so that a block has at most 64 KiB
# The header of a gzip member with a field BC of 2 bytes: the size of the block, minus 1.
HEADER = bytes.fromhex("1f8b08040000000000ff060042430200")


def compress(texts: Iterable[str]) -> Iterator[bytes]:
    """Compress texts, as UTF-8, to blocks and the empty block at the end of such a file.

    The same text gives the same bytes, wherever it is split. Any gzip reads the result.
    """
    waiting = bytearray()
    for text in texts:
        waiting += text.encode()
        while len(waiting) >= BLOCK:
            yield _block(bytes(waiting[:BLOCK]))
            del waiting[:BLOCK]
    if waiting:
        yield _block(bytes(waiting))
    yield _block(b"")


def _block(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)  # without a header
    packed = packer.compress(data) + packer.flush()
    size = struct.pack("<H", len(HEADER) + 2 + len(packed) + 8 - 1)
    return HEADER + size + packed + struct.pack("<II", zlib.crc32(data), len(data))
