"""A directory that is written by one living process at a time: of a run, or of an evaluation."""

import errno
import fcntl
import os
import socket
from contextlib import suppress
from pathlib import Path

from unsqueeze.errors import RunError, UserError

_WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""Errors of file systems that have no locks; there, nothing is locked."""


class RunLock:
    """The file ``lock`` of such a directory. The kernel lets go of it when the process ends, however it ends.

    The file itself stays: what counts is who holds it, and removing it could let two processes hold one each.
    """

    def __init__(
        self, path: Path, *, advice: str = "wait for that run to end, or name another run directory (--run)"
    ) -> None:
        self.path = path
        self._advice = advice
        self._descriptor: int | None = None

    def take(self) -> None:
        """Holds the lock until ``release``. UserError if a living process holds it; RunError if it cannot be made."""
        assert self._descriptor is None, "the lock is held already"
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise RunError(f"cannot write {self.path}: {error.strerror or error}.") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "another process"
            os.close(descriptor)
            raise UserError(f"{self.path.parent} is in use by {holder}; {self._advice}.") from None
        except OSError as error:
            if error.errno not in _WITHOUT_LOCKS:
                os.close(descriptor)
                raise RunError(f"cannot lock {self.path}: {error.strerror or error}.") from error
        self._descriptor = descriptor
        with suppress(OSError):  # who holds the lock is a courtesy to the reader; a full disk must not cost the lock
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)

    def release(self) -> None:
        """Lets go of the lock, if it is held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
