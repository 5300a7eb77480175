"""Files that a user names for output: what stands under that name is respected."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from unsqueeze.errors import RunError, UserError
from unsqueeze.store.atomic import atomic_file


@contextmanager
def output_file(out: str | Path) -> Iterator[Path]:
    """Yield a path to write to; on leaving, what was written becomes the file ``out``, in one instant.

    A link stays, and the file that it names is replaced; a file keeps its permissions; a device or a pipe is written
    into as it is. UserError where a folder has that name, RunError where the file system refuses.
    """
    target = Path(os.path.realpath(out))
    try:
        mode: int | None = target.stat().st_mode
    except OSError:
        mode = None
    if mode is not None and stat.S_ISDIR(mode):
        raise UserError(f"out is {out}, which is a folder; name a file.")
    if mode is not None and not stat.S_ISREG(mode):
        try:
            yield Path(out)
        except OSError as error:
            raise RunError(f"cannot write {out}: {error.strerror or error}.") from error
        return
    with atomic_file(target, replace=True) as aside:
        yield aside
        if mode is not None:
            with suppress(OSError):  # file systems without permissions
                aside.chmod(stat.S_IMODE(mode))


def is_same_file(one: str | Path, other: str | Path) -> bool:
    """Tell whether two names are of one file, or would be: through links, ``..`` and hard links."""
    try:
        return os.path.samefile(one, other)
    except OSError:
        return os.path.realpath(one) == os.path.realpath(other)
