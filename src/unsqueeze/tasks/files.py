"""Problems from a data file: records with a question and its gold answer."""

from itertools import islice
from pathlib import Path

from unsqueeze.errors import UserError
from unsqueeze.tasks.file_records import file_records, stem
from unsqueeze.tasks.problem import Problem
from unsqueeze.tasks.records import Reader, none_left, plain, problems_of, uniform_subset

_PLAIN = plain()


def load_file_problems(
    path: str | Path,
    *,
    reader: Reader = _PLAIN,
    id_field: str | None = None,
    limit: int | None = None,
    subset_size: int | None = None,
    seed: int = 0,
    skipped: list[str] | None = None,
) -> list[Problem]:
    """The problems of a file, in its order, as ``math`` problems. Empty lines are passed over.

    ``reader`` is the form of its records, by default that of ``problem`` and ``answer``. The file is read record by
    record. ``limit`` stops after so many problems; ``subset_size`` draws so many of what was read, uniformly and by
    ``seed``, still in the order of the file. A problem without a field ``id`` (or ``id_field``) is called NAME:NUMBER.
    ``skipped`` gets what is wrong with records that hold no problem, which are left out; without it they are errors.
    Raises UserError, with file, place and field, for whatever cannot be a problem, and for a subset larger than the
    file.
    """
    path = Path(path)
    for name, value in (("limit", limit), ("subset_size", subset_size)):
        if value is not None and value < 1:
            raise UserError(f"{path}: {name} is {value}; it must be at least 1, or absent to take all problems.")
    file = file_records(path)
    found = problems_of(
        file.records, str(path), stem(path), file.unit, reader=reader, id_field=id_field, skipped=skipped
    )
    problems = islice(found, limit)
    chosen = list(problems) if subset_size is None else uniform_subset(problems, subset_size, seed, str(path))
    if not chosen:
        raise none_left(str(path), "one JSON object a line, entries of an array, or rows", skipped)
    return chosen
