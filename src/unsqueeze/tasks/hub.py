"""Problems of data sets on the Hugging Face hub, through the library ``datasets`` and its cache."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from unsqueeze.errors import UserError, one_line
from unsqueeze.hub_errors import hub_reason, one_line_of_retries
from unsqueeze.tasks.problem import Problem, content_sha256
from unsqueeze.tasks.records import Reader, Record, none_left, problems_of

PREFIX = "hub:"
_FORM = f"{PREFIX}OWNER/NAME[:CONFIG]:SPLIT[@REVISION]"
_SOURCE = re.compile(
    r"(?P<path>[^/:@\s]+/[^/:@\s]+)(?::(?P<config>[^:@\s]+))?:(?P<split>[^:@\s]+)(?:@(?P<revision>\S+))?"
)
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class HubSource:
    """One split of a data set; ``revision`` None is its newest."""

    path: str
    config: str | None
    split: str
    revision: str | None = None

    def __str__(self) -> str:
        config = "" if self.config is None else f":{self.config}"
        revision = "" if self.revision is None else f"@{self.revision}"
        return f"{PREFIX}{self.path}{config}:{self.split}{revision}"

    @property
    def name(self) -> str:
        """The name that its results are kept under."""
        short = self.path.rpartition("/")[2]
        return short if self.config is None else f"{short}:{self.config}"


def parse_source(text: str) -> HubSource:
    """``hub:OWNER/NAME[:CONFIG]:SPLIT[@REVISION]``. UserError for anything else."""
    match = _SOURCE.fullmatch(text.removeprefix(PREFIX))
    if match is None:
        raise UserError(f"{text}: write a hub data set as {_FORM}, for example {PREFIX}openai/gsm8k:main:test.")
    return HubSource(match["path"], match["config"], match["split"], match["revision"])


@dataclass(frozen=True, slots=True)
class HubProblems:
    """A whole split as problems, a hash of their content, and the commit it was read at; None where it has none."""

    problems: list[Problem]
    sha256: str
    commit: str | None


def load_hub_problems(
    source: HubSource,
    *,
    reader: Reader,
    id_field: str | None = None,
    name: str | None = None,
    skipped: list[str] | None = None,
) -> HubProblems:
    """Every row of a split as a problem; those without an id are called NAME:ROW. ``skipped``: see ``problems_of``.

    UserError where the data set cannot be had, holds no row, or a row that is no problem.
    """
    records, commit = load_records(source)
    numbered = enumerate(records)
    name = name or source.name
    found = problems_of(numbered, str(source), name, "row", reader=reader, id_field=id_field, skipped=skipped)
    problems = list(found)
    if not problems:
        raise none_left(str(source), "rows", skipped)
    return HubProblems(problems, content_sha256(problems), commit)


def load_records(source: HubSource) -> tuple[list[Record], str | None]:
    """The rows of a split and the commit they are of, None for those of a folder on this machine.

    UserError with the reason where they cannot be had, or not at the revision that was asked for.
    """
    import datasets

    datasets.disable_progress_bars()
    try:
        with one_line_of_retries():
            loaded = datasets.load_dataset(source.path, source.config, split=source.split, revision=source.revision)
        records = list(loaded)
    except Exception as error:  # the library raises whatever its many layers raise
        reason = hub_reason(error)
        if reason is None and isinstance(error, ConnectionError):
            reason = "it cannot be reached, and no cache here has it; connect once, or give a path"
        told = f": {reason}" if reason else f" ({type(error).__name__}: {one_line(error)})"
        hint = " A path is that of a data file." if reason else ""
        raise UserError(f"{source} cannot be had from the hub{told}.{hint}") from error
    commit = _commit_of(loaded.cache_files)
    _check_revision(source, commit)
    return records, commit


def _commit_of(cache_files: Sequence[Mapping[str, str]]) -> str | None:
    """The library keeps a data set of the hub in a folder named by its commit."""
    folders = (Path(file["filename"]).parent.name for file in cache_files)
    return next((folder for folder in folders if _COMMIT.fullmatch(folder)), None)


def _check_revision(source: HubSource, commit: str | None) -> None:
    """The library takes what is at hand, of any revision, where it cannot ask the hub."""
    if source.revision is None:
        return
    if commit is None:
        raise UserError(f"{source}: a folder on this machine was read, which has no revisions; leave it out.")
    if _COMMIT.fullmatch(source.revision) and commit != source.revision:
        raise UserError(
            f"{source}: the hub cannot be asked, and the cache of the library datasets holds commit {commit}; name "
            f"that one, or connect once."
        )
