"""Digests inside files, so that what was damaged on the disk is never read as something else.

A Parquet file carries its own SHA-256 among its metadata (``unsqueeze.sha256``), taken with 64 zeros in the digest's
place: the file stays one file, complete or absent, and any other tool reads it. A JSON object carries the CRC-32 of its
own content (``crc32``), whatever its layout: of ``json.dumps`` of the rest with sorted keys.
"""

import hashlib
import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unsqueeze.plain_json import dumps

KEY = b"unsqueeze.sha256"
UNSEALED = b"0" * 64
"""What stands in the place of the digest when the digest is taken."""

CRC = "crc32"

_TAIL = 1 << 16
"""Bytes from the end in which the digest is looked for; Parquet writes it behind the descriptions of all columns."""


def seal_file(path: Path) -> None:
    """Put the SHA-256 of a Parquet file into it, whose metadata hold ``UNSEALED`` under ``KEY``."""
    place, stored = _stored_digest(path)
    assert stored == UNSEALED, "the file has no room for a digest, or one already"
    digest = _digest(path, place)
    with path.open("r+b") as file:
        file.seek(place)
        file.write(digest)


def check_seal(path: Path, *, required: bool = True) -> None:
    """ValueError where the file is not what was written, and where it has no digest though one is ``required``."""
    place, stored = _stored_digest(path)
    if not stored:
        if required:
            raise ValueError("it carries no digest, so it was damaged or written by another program")
        return
    if _digest(path, place) != stored:
        raise ValueError("it is not what was written: its content does not fit its SHA-256")


def sealed(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``record`` and, last, its checksum. TypeError for what has no JSON form."""
    plain: dict[str, Any] = json.loads(dumps(record))
    plain.pop(CRC, None)
    return {**plain, CRC: _checksum(plain)}


def unsealed(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record without its checksum. ValueError where it is not what was written."""
    plain = dict(record)
    stored, found = plain.pop(CRC, None), _checksum(plain)
    if stored != found:
        raise ValueError(
            f"it is not what was written: its {CRC} is {str(stored)[:20]!r}, and of what stands there it is {found!r}"
        )
    return plain


def _checksum(plain: Mapping[str, Any]) -> str:
    return f"{zlib.crc32(json.dumps(plain, sort_keys=True).encode()):08x}"


def _stored_digest(path: Path) -> tuple[int, bytes]:
    """The place of the digest in the file, and the digest; 0 and nothing where there is none."""
    with path.open("rb") as file:
        start = max(0, file.seek(0, os.SEEK_END) - _TAIL)
        file.seek(start)
        tail = file.read()
    found = tail.rfind(KEY)
    if found < 0:
        return 0, b""
    # Behind the key stand one byte of the kind of what follows, and one of its length (Thrift's compact protocol).
    offset = found + len(KEY) + 2
    return start + offset, tail[offset : offset + len(UNSEALED)]


def _digest(path: Path, place: int) -> bytes:
    """The SHA-256 of a file with ``UNSEALED`` at ``place``, in hexadecimal."""
    hashed = hashlib.sha256()
    with path.open("rb") as file:
        position = 0
        while block := file.read(1 << 20):
            start, end = max(place, position), min(place + len(UNSEALED), position + len(block))
            if start < end:
                block = block[: start - position] + UNSEALED[: end - start] + block[end - position :]
            hashed.update(block)
            position += len(block)
    return hashed.hexdigest().encode()
