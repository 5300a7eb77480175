"""Which trainer wrote the rollouts under a path."""

from pathlib import Path

from unsqueeze.errors import UserError
from unsqueeze.interop.rollouts import nemo, plain, prime, slime, swift, trl, verl
from unsqueeze.interop.rollouts.format import Format
from unsqueeze.interop.sample_files import STANDARD, check_readable

FORMATS = {each.FORMAT.name: each.FORMAT for each in (trl, swift, verl, nemo, slime, prime, plain)}
"""Every format by its name, in the order in which they are tried; anything may be plain."""

AUTO = "auto"


def detect(source: str, name: str = AUTO) -> tuple[Format, list[str]]:
    """Return the format of that name, or the first that knows files under ``source``, and these files. UserError where
    there are none.
    """
    if name not in (AUTO, *FORMATS):
        raise UserError(f"format is {name!r}; it must be one of {', '.join((AUTO, *FORMATS))}.")
    if source == STANDARD:
        return plain.FORMAT, plain.find(Path(source))
    path = Path(source)
    if not path.is_dir():
        check_readable(source)
    for each in FORMATS.values() if name == AUTO else (FORMATS[name],):
        files = each.find(path)
        if files:
            return each, files
    chosen = FORMATS[name]
    if not path.is_dir():
        return chosen, [source]
    raise UserError(f"{source} holds no rollouts of {chosen.trainer}; give {chosen.wanted}.")
