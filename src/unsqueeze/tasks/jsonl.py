"""Problems from a JSON Lines file: one object a line, with a question and its gold answer."""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from unsqueeze.errors import UserError
from unsqueeze.tasks.problem import Problem
from unsqueeze.tasks.records import Reader, plain, problems_of, uniform_subset

_PLAIN = plain()


def load_jsonl_problems(
    path: str | Path,
    *,
    reader: Reader = _PLAIN,
    id_field: str | None = None,
    limit: int | None = None,
    subset_size: int | None = None,
    seed: int = 0,
) -> list[Problem]:
    """The problems of a file, in its order, as ``math`` problems. Empty lines are passed over.

    ``reader`` is the file's format, by default that of ``problem`` and ``answer``. The file is read line by line.
    ``limit`` stops after so many problems; ``subset_size`` draws so many of what was read, uniformly and by ``seed``,
    still in the order of the file. A problem without a field ``id`` (or ``id_field``) is called NAME:LINE. Raises
    UserError, with file, line and field, for whatever cannot be a problem, and for a subset larger than the file.
    """
    path = Path(path)
    for name, value in (("limit", limit), ("subset_size", subset_size)):
        if value is not None and value < 1:
            raise UserError(f"{path}: {name} is {value}; it must be at least 1, or absent to take all problems.")
    lines = ((number, line) for number, line in _lines(path) if line.strip())
    records = ((number, _record(line, f"{path}, line {number}")) for number, line in lines)
    problems = islice(problems_of(records, str(path), path.stem, "line", reader=reader, id_field=id_field), limit)
    chosen = list(problems) if subset_size is None else uniform_subset(problems, subset_size, seed, str(path))
    if not chosen:
        raise UserError(f"{path}: the file holds no problem; it needs one JSON object a line.")
    return chosen


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            yield from enumerate(file, start=1)
    except OSError as error:
        raise UserError(f"{path}: the problem file cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: the problem file is not UTF-8 ({error.reason}); convert it first.") from error


def _record(line: str, where: str) -> dict[str, object]:
    try:
        record = json.loads(line)
    except RecursionError:
        raise _no_json(where, "nested too deep") from None
    except json.JSONDecodeError as error:
        raise _no_json(where, f"{error.msg}, column {error.colno}") from error
    except ValueError as error:  # a number with thousands of digits
        raise _no_json(where, str(error)) from error
    if not isinstance(record, dict):
        raise UserError(f"{where}: a JSON {type(record).__name__}; every line must be one JSON object.")
    return record


def _no_json(where: str, detail: str) -> UserError:
    return UserError(f"{where}: not valid JSON ({detail}); every line must be one JSON object.")
