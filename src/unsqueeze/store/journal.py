"""Append-only files of JSON lines: the journal of a run and its metrics.

A line carries a checksum of itself, and counts once its newline is on the disk. A process killed while writing may
leave one torn last line: readers pass over it, the next writer cuts it off. Anything else that is broken is an error
that names the file and the line.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from unsqueeze.errors import RunError
from unsqueeze.plain_json import dumps
from unsqueeze.store.atomic import fsync, make_folder, write_atomically
from unsqueeze.store.seal import sealed, unsealed

ENDS = ("finished", "interrupted", "failed")
"""Events that close one process's work on a run, and say how long it took."""


class JsonLines:
    """An append-only file with one JSON object a line.

    A line outlives this process as soon as ``append`` returns, and then the machine too: but without
    ``sync_every_line`` only from the next ``sync`` on.
    """

    def __init__(self, path: Path, *, sync_every_line: bool = True) -> None:
        self.path = path
        self._sync_every_line = sync_every_line
        self._descriptor: int | None = None
        self._num_lines: int | None = None

    def append(self, record: Mapping[str, Any]) -> None:
        """Adds ``record`` as one line. RunError if the file system refuses; the file then ends where it did before."""
        line = dumps(sealed(record)).encode() + b"\n"
        try:
            if self._descriptor is None:
                self._descriptor = self._open()
            num_lines, self._num_lines = self._num_lines, None  # counted again, should the line below be cut off
            _append_whole(self._descriptor, line, sync=self._sync_every_line)
            self._num_lines = None if num_lines is None else num_lines + 1
        except OSError as error:
            raise RunError(f"cannot write {self.path}: {error.strerror or error}.") from error
        except BaseException:  # a second Ctrl-C, at any instant: the next append looks anew at where the file ends
            self.close()
            raise

    def sync(self) -> None:
        """Waits until every line that this process added is on the disk. RunError if the file system refuses."""
        if self._descriptor is not None:
            try:
                os.fsync(self._descriptor)
            except OSError as error:
                raise RunError(f"cannot write {self.path}: {error.strerror or error}.") from error

    def read(self) -> list[dict[str, Any]]:
        """Every whole line, in order; empty if the file does not exist. RunError naming the first broken line."""
        return [self._parse(line, number) for number, line in enumerate(self._whole_lines(), start=1)]

    def read_from_end(self) -> Iterator[dict[str, Any]]:
        """Every whole line, the last one first, without reading more of the file than is asked for. Errors as above."""
        for line in _lines_from_end(self.path):
            try:
                yield self._parse(line, 0)
            except RunError:
                self.read()  # knows the number of the line
                raise

    def num_lines(self) -> int:
        """Count the whole lines; the number is kept."""
        if self._num_lines is None:
            self._num_lines = len(self._whole_lines())
        return self._num_lines

    def truncate(self, num_lines: int) -> None:
        """Keeps the first ``num_lines`` lines. RunError if the file system refuses."""
        lines = self._whole_lines()
        self._num_lines = None
        if lines:
            self.close()
            write_atomically(self.path, b"".join(line + b"\n" for line in lines[:num_lines]), replace=True)

    def num_leading(self, belongs: Callable[[dict[str, Any]], bool], at_most: int) -> int:
        """Count the lines from the first on, ``at_most`` so many, that belong. RunError if one of them is broken."""
        lines = self._whole_lines()[:at_most]
        for number, line in enumerate(lines, start=1):
            if not belongs(self._parse(line, number)):
                return number - 1
        return len(lines)

    def close(self) -> None:
        """Lets go of the file. A later ``append`` opens it again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> int:
        make_folder(self.path.parent)
        is_new = not self.path.exists()
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        if is_new:
            fsync(self.path.parent)
        else:
            os.ftruncate(descriptor, _length_of_whole_lines(self.path))
        return descriptor

    def _whole_lines(self) -> list[bytes]:
        try:
            return self.path.read_bytes().split(b"\n")[:-1] if self.path.exists() else []
        except OSError as error:
            raise RunError(f"cannot read {self.path}: {error.strerror or error}.") from error

    def _parse(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:  # not JSON, or not UTF-8, or nested without end
            raise RunError(f"{self.path}, line {number}: not a JSON object ({error}); the file was damaged.") from error
        if not isinstance(record, dict):
            raise RunError(f"{self.path}, line {number}: not a JSON object; the file was damaged.")
        try:
            return unsealed(record)
        except ValueError as error:
            raise RunError(f"{self.path}, line {number}: {error}.") from error


class Journal:
    """Events in order. Each line of ``journal.jsonl`` has ``seq`` (0, 1, 2, …), ``time`` and ``event``."""

    def __init__(self, path: Path, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._lines = JsonLines(path)
        self._now = now
        self._next_seq: int | None = None

    @property
    def path(self) -> Path:
        return self._lines.path

    def append(self, event: str, **fields: Any) -> dict[str, Any]:
        """Records ``event`` with its fields and returns the line as recorded. It is on the disk on return."""
        seq = len(self.read()) if self._next_seq is None else self._next_seq
        self._next_seq = None  # counted again, should the line below be cut off
        record = {
            "seq": seq,
            "time": self._now().isoformat(timespec="milliseconds"),
            "event": event,
            **fields,
        }
        self._lines.append(record)
        self._next_seq = seq + 1
        return record

    def read(self) -> list[dict[str, Any]]:
        """Every event so far. RunError naming the first line that is broken or out of sequence."""
        try:
            records = self._lines.read()
            _check_sequence(records, self.path)
        except RunError as error:
            raise RunError(
                f"{error} Training does not depend on this file: move it out of the run directory, and a resumed run "
                f"begins another."
            ) from error
        return records

    def last(self, event: str, **fields: Any) -> dict[str, Any] | None:
        """The last line of that event in which each of ``fields`` has that value; None where there is none.

        RunError naming the first line that is broken, of those looked at.
        """
        wanted = fields | {"event": event}
        lines = self._lines.read_from_end()
        return next((line for line in lines if all(line.get(key) == value for key, value in wanted.items())), None)

    def close(self) -> None:
        self._lines.close()


def _check_sequence(records: Iterable[Mapping[str, Any]], path: Path) -> None:
    for seq, record in enumerate(records):
        if record.get("seq") != seq or not isinstance(record.get("event"), str):
            raise RunError(
                f"{path}, line {seq + 1}: expected an event with seq {seq}, found seq {record.get('seq')!r}; "
                "lines were lost or edited."
            )


def _lines_from_end(path: Path, block_size: int = 1 << 16) -> Iterator[bytes]:
    """The whole lines of a file without their newlines, last first; none if there is no file. RunError as above."""
    try:
        with path.open("rb") as file:
            position = file.seek(0, os.SEEK_END)
            pending, torn = b"", True  # what follows the last newline is torn, or nothing
            while position:
                size = min(block_size, position)
                position -= size
                file.seek(position)
                pending, *lines = (file.read(size) + pending).split(b"\n")
                if torn and lines:
                    lines.pop()
                    torn = False
                yield from reversed(lines)
            if not torn:
                yield pending
    except FileNotFoundError:
        return
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}.") from error


def _length_of_whole_lines(path: Path) -> int:
    return path.read_bytes().rfind(b"\n") + 1


def _append_whole(descriptor: int, line: bytes, *, sync: bool) -> None:
    length_before = os.fstat(descriptor).st_size
    try:
        written = os.write(descriptor, line)
        while written < len(line):
            written += os.write(descriptor, line[written:])
        if sync:
            os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, length_before)
        raise
