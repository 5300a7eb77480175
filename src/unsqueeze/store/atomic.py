"""Files and directories that are complete or absent: written aside, fsynced, renamed.

The unfinished thing lies beside its place under one fixed hidden name, ``.NAME.tmp``. A process killed while writing
leaves that behind; the next attempt at the same name removes it, or whoever next goes on with the run, and no reader
ever looks at it.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from unsqueeze.errors import RunError


def unfinished_name(path: Path) -> Path:
    """Return the place where ``path`` is written before it is complete."""
    return path.with_name(f".{path.name}.tmp")


@contextmanager
def atomic_file(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yields a path to write to; on leaving, what was written there becomes ``path``, durably, in one instant.

    An error inside the block leaves ``path`` as it was. RunError if ``path`` exists and ``replace`` is off, and if the
    file system refuses (full, read-only, no permission).
    """
    with _written_aside(path, replace=replace) as aside:
        yield aside
        fsync(aside)


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yield a directory to fill, as ``atomic_file`` does a file. Never replaces one that exists."""
    with _written_aside(path, replace=False) as aside:
        aside.mkdir()
        yield aside
        for folder, _, names in os.walk(aside):
            for name in names:
                fsync(Path(folder, name))
            fsync(Path(folder))


def write_atomically(path: Path, data: bytes, *, replace: bool = False) -> None:
    """Writes ``data`` as the whole content of ``path``; see ``atomic_file``."""
    with atomic_file(path, replace=replace) as aside:
        aside.write_bytes(data)


def remove_directory(path: Path) -> None:
    """Removes a directory and all it holds. Cut off at any instant, ``path`` is whole or gone. RunError as above."""
    aside = unfinished_name(path)
    try:
        _remove(aside)
        path.replace(aside)
        fsync(path.parent)
        _remove(aside)
    except OSError as error:
        raise RunError(f"cannot remove {path}: {error.strerror or error}.") from error


def remove_unfinished(folder: Path) -> None:
    """Removes what killed writers left in ``folder``. Only for who is its one writer. RunError as above."""
    try:
        for aside in folder.glob(unfinished_name(folder / "*").name):
            _remove(aside)
    except OSError as error:
        raise RunError(f"cannot tidy up {folder}: {error.strerror or error}.") from error


def make_folder(path: Path) -> None:
    """Makes ``path`` and the folders above it where they do not exist, durably."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        fsync(path.parent)


def fsync(path: Path) -> None:
    """Waits until what a file holds, or which names a directory holds, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _written_aside(path: Path, *, replace: bool) -> Iterator[Path]:
    if not replace and path.exists():
        raise RunError(f"{path} exists already and is never overwritten.")
    aside = unfinished_name(path)
    try:
        make_folder(path.parent)
        _remove(aside)
        yield aside
        aside.replace(path)
        fsync(path.parent)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}.") from error
    finally:
        with suppress(OSError):
            _remove(aside)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
