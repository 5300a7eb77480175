"""Digests of files, and a list of them that stays with a folder."""

import hashlib
from pathlib import Path

SUMS = "SHA256SUMS"
"""The list's name and form are those of coreutils: ``sha256sum -c SHA256SUMS`` reads it too."""


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_sums(folder: Path) -> None:
    """Write the digests of all files directly in ``folder`` into it."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != SUMS)
    (folder / SUMS).write_text("".join(f"{sha256_of(path)}  {path.name}\n" for path in files), encoding="utf-8")


def check_sums(folder: Path) -> None:
    """ValueError naming the first file that is missing or not what was written; a folder without the list is taken.

    Files that are not in the list are nobody's business.
    """
    sums = folder / SUMS
    if not sums.is_file():
        return
    for line in sums.read_text(encoding="utf-8", errors="replace").splitlines():
        digest, _, name = line.partition("  ")
        path = folder / Path(name).name
        if not name or not path.is_file():
            raise ValueError(f"{(name or line)[:80]!r} is listed in {SUMS} and not there")
        if sha256_of(path) != digest:
            raise ValueError(
                f"{name!r} is not what was written: it does not fit its digest in {SUMS} (of files that were changed "
                f"on purpose, remove that list)"
            )
