"""Mathematics with short gold answers, from JSON Lines files (``jsonl``) and data sets of the hub (``hub``)."""

import random
from collections.abc import Sequence
from pathlib import Path

from unsqueeze.config.data_settings import DataSettings
from unsqueeze.digests import sha256_of
from unsqueeze.errors import UserError
from unsqueeze.tasks.file_records import count_records
from unsqueeze.tasks.files import load_file_problems
from unsqueeze.tasks.hub import PREFIX, HubProblems, load_hub_problems, parse_source
from unsqueeze.tasks.known import format_of
from unsqueeze.tasks.problem import Problem
from unsqueeze.tasks.records import BadRecordError, plain, uniform_subset
from unsqueeze.tasks.task import Data, Sizes, Task, options_of
from unsqueeze.wording import counted, verb


class MathTask(Task):
    """Problems of files and data sets, judged as mathematics."""

    name = "math"
    title = "problems of files and of data sets of the hub"

    def load(self, settings: DataSettings) -> Data:
        """Read the problems. Raises UserError naming file, line and field, or a problem that is in two sets.

        Asking for validation problems changes no test problem, and a training problem only where they are set apart
        from a training file of which all the rest is trained on.
        """
        options_of(settings, {})
        return _read(settings)

    def sizes(self, settings: DataSettings) -> Sizes:
        return Sizes(
            train=settings.num_train or count_problems(settings.train_path),
            test=settings.num_test or count_problems(settings.test_path),
            validation=settings.num_validation or count_problems(settings.validation_path),
        )


def count_problems(path: str | None) -> int | None:
    """Count the problems of a file; None without it, and where it cannot be read."""
    if path is None or not Path(path).is_file():
        return None
    try:
        return count_records(Path(path))
    except UserError:
        return None


class Sources:
    """Reads the files and the data sets of the hub that settings name, and remembers what they held."""

    def __init__(self, settings: DataSettings) -> None:
        self._settings = settings
        self._from_hub: dict[str, HubProblems] = {}
        self.sha256: dict[str, str] = {}
        self.skipped: dict[str, list[str]] = {}
        """What is wrong with the records that ``data.skip_bad`` leaves out, by path."""

    @property
    def hub_commits(self) -> dict[str, str]:
        return {path: loaded.commit for path, loaded in self._from_hub.items() if loaded.commit is not None}

    def read(self, path: str, size: int | None) -> list[Problem]:
        """The problems of a path, or ``size`` of them, drawn uniformly by the seed. UserError naming what is wrong."""
        try:
            return self._read(path, size)
        except BadRecordError as error:
            raise UserError(f"{error} Or leave such records out with data.skip_bad=true.") from error

    def _read(self, path: str, size: int | None) -> list[Problem]:
        settings = self._settings
        if not path.startswith(PREFIX):
            reader = plain(*settings.fields_of(path))
            problems = load_file_problems(
                path, reader=reader, subset_size=size, seed=settings.seed, skipped=self._skipped(path)
            )
            self.sha256[path] = sha256_of(Path(path))
            return problems
        if path not in self._from_hub:
            self._from_hub[path] = self._load(path)
            self.sha256[path] = self._from_hub[path].sha256
        problems = self._from_hub[path].problems
        return problems if size is None else uniform_subset(problems, size, settings.seed, path)

    def _load(self, path: str) -> HubProblems:
        """Problems of the test split are called as ``unsqueeze eval`` calls them; of others by their split as well."""
        settings, source = self._settings, parse_source(path)
        reader, id_field = format_of(source, *settings.fields_of(path))
        name = source.name if path == settings.test_path else f"{source.name}:{source.split}"
        return load_hub_problems(source, reader=reader, id_field=id_field, name=name, skipped=self._skipped(path))

    def _skipped(self, path: str) -> list[str] | None:
        """An empty list for what is left out of a path; None where nothing may be."""
        if not self._settings.skip_bad:
            return None
        self.skipped[path] = []
        return self.skipped[path]


def _read(settings: DataSettings) -> Data:
    assert settings.train_path is not None
    assert settings.test_path is not None
    sources = Sources(settings)
    train = sources.read(settings.train_path, settings.num_train)
    test = sources.read(settings.test_path, settings.num_test)
    train_name = f"data.train_path {settings.train_path!r}"
    test_name = f"data.test_path {settings.test_path!r}"
    _check_disjoint(train_name, train, test_name, test)
    validation: list[Problem] = []
    if settings.validation_path is not None:
        validation = sources.read(settings.validation_path, settings.num_validation)
        name = f"data.validation_path {settings.validation_path!r}"
        _check_disjoint(train_name, train, name, validation)
        _check_disjoint(name, validation, test_name, test)
    elif settings.num_validation is not None:
        whole = sources.read(settings.train_path, None)
        validation = _set_apart(whole, test if settings.num_train is None else [*train, *test], settings)
        apart = {problem.prompt for problem in validation}
        train = [problem for problem in train if problem.prompt not in apart]
    skipped = {path: found for path, found in sources.skipped.items() if found}
    return Data(train, test, validation, sources.sha256, sources.hub_commits, skipped=skipped)


def _set_apart(whole_file: Sequence[Problem], taken: Sequence[Problem], settings: DataSettings) -> list[Problem]:
    """``num_validation`` problems of a training file, uniformly among those whose text is not ``taken``; file order."""
    assert settings.num_validation is not None
    taken_texts = {problem.prompt for problem in taken}
    free = list({problem.prompt: problem for problem in whole_file if problem.prompt not in taken_texts}.values())
    if len(free) < settings.num_validation:
        raise UserError(
            f"data.num_validation is {settings.num_validation}, but {settings.train_path} holds only "
            f"{counted(len(free), 'problem')} beside the {len(taken_texts)} that are trained or "
            f"tested on; lower it, or data.num_train."
        )
    chosen = random.Random(f"validation-{settings.seed}").sample(range(len(free)), settings.num_validation)
    return [free[place] for place in sorted(chosen)]


def _check_disjoint(one_name: str, one: Sequence[Problem], other_name: str, other: Sequence[Problem]) -> None:
    """UserError if a problem's text is in both sets."""
    shared = {problem.prompt for problem in one} & {problem.prompt for problem in other}
    if shared:
        raise UserError(
            f"{counted(len(shared), 'problem', 'stands', 'stand')} in both {one_name} and {other_name}, the first "
            f"being {min(shared)[:80]!r}; remove {verb(len(shared), 'it', 'them')} from one."
        )
