"""L2TE over files of rollouts: choose by the scalars first, then copy the words of what was chosen.

Files are read twice, so that memory holds a few numbers a rollout and never the texts.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from unsqueeze.algos.selection import Likelihood, Pool, Selected, select_demonstrations
from unsqueeze.errors import RunError, UserError
from unsqueeze.interop.rollout_files import (
    LOGP_LISTS,
    SCALAR_COLUMNS,
    WORD_COLUMNS,
    Candidate,
    Key,
    Messages,
    candidate,
    token_ids,
    words,
)
from unsqueeze.interop.rollouts import plain
from unsqueeze.interop.rollouts.format import Asked, Format
from unsqueeze.interop.rollouts.prepare import MOST_REWARDS, Preparation, Reading
from unsqueeze.interop.rollouts.repeats import Repeats
from unsqueeze.interop.sample_files import Record
from unsqueeze.seeds import derive_seed
from unsqueeze.store.records import read_record
from unsqueeze.tasks.styles import Wording, wording_of_settings
from unsqueeze.wording import counted, verb


@dataclass(frozen=True, slots=True)
class Choice:
    """One chosen rollout: what is known of it without its words, and why it was chosen."""

    candidate: Candidate
    reason: str


@dataclass(slots=True)
class Selection:
    """Choice among rollouts, by place in the reading of all files, and what there was to choose from."""

    chosen: dict[int, Choice] = field(default_factory=dict)
    num_rollouts: int = 0
    num_groups: int = 0
    num_not_judged: int = 0
    num_unknown: int = 0
    num_short_groups: int = 0
    num_other_prompts: int = 0
    """Groups that have the name of another one and were asked something else."""
    reading: Reading = field(default_factory=Reading)

    def describe(self) -> str:
        """One sentence or a few: how many of what were chosen, and what could not be."""
        negatives = sum(choice.candidate.reward <= 0 for choice in self.chosen.values())
        parts = [
            f"{counted(len(self.chosen), 'demonstration')} ({negatives:,} negative, "
            f"{len(self.chosen) - negatives:,} positive) of {counted(self.num_rollouts, 'rollout')} in "
            f"{counted(self.num_groups, 'group')}"
        ]
        if self.num_short_groups:
            parts.append(f"{counted(self.num_short_groups, 'group')} had fewer than k to give")
        if count := self.num_other_prompts:
            has = verb(count, "has", "have")
            parts.append(f"{counted(count, 'group')} {has} the problem_id of another with another prompt")
        if self.num_not_judged:
            was = verb(self.num_not_judged, "was", "were")
            parts.append(f"{counted(self.num_not_judged, 'rollout')} {was} not judged")
        if self.num_unknown:
            parts.append(f"{counted(self.num_unknown, 'rollout', 'has', 'have')} no likelihood")
        return "; ".join(parts)


Scorer = Callable[[Sequence[Record]], Sequence[tuple[float, int] | None]]
"""Gives the mean log-prob (nats per token) and the number of tokens of rollouts; None where there is none."""

Judge = Callable[[Sequence[Record]], Sequence[float | None]]
"""Gives the rewards of rollouts: 1 or 0, None where nothing could be judged."""

BATCH = 512
"""Rollouts that a model or a verifier is given at a time."""


@dataclass(frozen=True, slots=True)
class Rollouts:
    """Rollouts in the files of one format, to be gone through as often as is needed."""

    format: Format
    files: Sequence[str]
    asked: Asked = field(default_factory=Asked)
    preparation: Preparation | None = None
    score: Scorer | None = None
    judge: Judge | None = None
    on_read: Callable[[int], None] = lambda number: None

    @classmethod
    def plain(cls, files: Sequence[str]) -> "Rollouts":
        return cls(plain.FORMAT, files)

    def read(self, columns: Sequence[str]) -> Iterator[Record]:
        """Yield every row there is, as the format's reader gives it."""
        return self.format.read(self.files, columns, self.asked)

    def prepared(self, record: Record) -> Record:
        return record if self.preparation is None else self.preparation.prepared(record)

    @property
    def looks_at_words(self) -> bool:
        """Tell whether more than numbers is needed to choose."""
        return self.preparation is not None or self.score is not None or self.judge is not None


def select_from_files(
    rollouts: Rollouts, k: int, *, pool: Pool, quantile: float, likelihood: Likelihood, seed: int
) -> Selection:
    """``algos.selection.select_demonstrations`` on every group of the files. UserError where nothing can be chosen.

    The draws of a group depend on the seed and on what names the group, not on the groups beside it. Rollouts of one
    name that were asked something else are a group of their own. A rollout with a reward above 0 is a positive. Rows
    that a later log call repeats, and prompts of an evaluation, are not there.
    """
    groups: dict[Key, list[tuple[int, Candidate]]] = {}
    selection = Selection(reading=Reading(rollouts.format.name, rollouts.format.origins))
    first_asked: dict[Key, str] = {}
    for place, read in _candidates(rollouts, selection, likelihood):
        key = read.key
        if read.asked is not None and first_asked.setdefault(key, read.asked) != read.asked:
            key = (*key, f"prompt {read.asked}")
            selection.num_other_prompts += key not in groups
        members = groups.setdefault(key, [])
        members.append((place, _sharing(members[0][1], read) if members else read))
        selection.num_rollouts += 1
        selection.num_not_judged += bool(np.isnan(read.reward))
        selection.num_unknown += not np.isfinite(read.likelihood)
        if len(selection.reading.rewards) <= MOST_REWARDS and read.reward == read.reward:
            selection.reading.rewards.add(read.reward)
    selection.num_groups = len(groups)
    for key, members in groups.items():
        rng = np.random.default_rng(_group_seed(seed, key))
        chosen = _select(members, k, pool, quantile, rng)
        selection.num_short_groups += len(chosen) < k
        for one in chosen:
            place, read = members[one.index]
            selection.chosen[place] = Choice(read, one.reason)
    if not selection.chosen:
        files = rollouts.files
        others = f" and {len(files) - 1} more files" if len(files) > 1 else ""
        raise UserError(
            f"{files[0]}{others}: nothing to choose among {selection.num_rollouts:,} rollouts for the pool {pool!r}: "
            f"{selection.num_not_judged:,} were not judged, {selection.num_unknown:,} have no likelihood; try another "
            "pool, or give rollouts with rewards and log-probs."
        )
    return selection


def _sharing(first: Candidate, read: Candidate) -> Candidate:
    """A rollout that holds what names its group as the first one does, instead of a copy."""
    return replace(read, key=first.key, problem_id=first.problem_id, asked=first.asked)


def _candidates(rollouts: Rollouts, selection: Selection, kind: Likelihood) -> Iterator[tuple[int, Candidate]]:
    """Yield what there is to choose from, each with its place in the reading of all files."""
    reading = selection.reading
    columns = (
        tuple(dict.fromkeys((*SCALAR_COLUMNS, *WORD_COLUMNS, "gold"))) if rollouts.looks_at_words else SCALAR_COLUMNS
    )
    repeats = Repeats() if rollouts.format.overlapping else None
    waiting: list[tuple[int, Record]] = []
    shown = 0
    for place, found in enumerate(rollouts.read(columns)):
        reading.num_rows += 1
        if repeats is not None and repeats.is_one(found):
            reading.num_repeated += 1
            continue
        if not rollouts.looks_at_words:
            yield place, candidate(found, kind)
            continue
        record = rollouts.prepared(found)
        if rollouts.preparation is not None:
            if rollouts.preparation.is_evaluation(record):
                reading.num_evaluation += 1
                continue
            rollouts.preparation.count(record, reading)
        waiting.append((place, record))
        if len(waiting) == BATCH:
            yield from _looked_at(rollouts, waiting, kind)
            waiting = []
            rollouts.on_read(reading.num_rows - shown)
            shown = reading.num_rows
    yield from _looked_at(rollouts, waiting, kind)
    rollouts.on_read(reading.num_rows - shown)


def _looked_at(
    rollouts: Rollouts, waiting: Sequence[tuple[int, Record]], kind: Likelihood
) -> Iterator[tuple[int, Candidate]]:
    """Yield the candidates of a few rollouts, judged and scored anew where that was asked."""
    records = [record for _, record in waiting]
    if rollouts.judge is not None:
        rewards = rollouts.judge(records)
        records = [_with(record, reward=reward) for record, reward in zip(records, rewards, strict=True)]
    if rollouts.score is not None:
        scores = rollouts.score(records)
        records = [_scored(record, score) for record, score in zip(records, scores, strict=True)]
    for (place, _), record in zip(waiting, records, strict=True):
        yield place, candidate(record, kind)


def _scored(record: Record, score: tuple[float, int] | None) -> Record:
    fields = {name: value for name, value in record.fields.items() if name not in LOGP_LISTS}
    mean_logp, num_tokens = (None, None) if score is None else score
    return replace(record, fields=fields | {"mean_logp": mean_logp, "num_tokens": num_tokens})


def _with(record: Record, **fields: Any) -> Record:
    return replace(record, fields={**record.fields, **fields})


def demonstrations(rollouts: Rollouts, selection: Selection, prompt: Wording | None) -> Iterator[dict[str, Any]]:
    """The chosen rollouts with their words, in the order of the files, ready to be written as JSON."""
    under = "behaviour" if rollouts.score is None else "present"
    for place, record in enumerate(rollouts.read(WORD_COLUMNS)):
        if place in selection.chosen:
            yield demonstration(rollouts.prepared(record), selection.chosen[place], prompt, under)


def demonstration(record: Record, choice: Choice, prompt: Wording | None, under: str) -> dict[str, Any]:
    """One JSON object that trainers read as it is, with the loss on the response alone.

    A chat is there twice, as ``messages`` and as a conversational ``prompt`` with its ``completion``: some read the
    one, some the other. Where the prompt is text, it and the ``completion`` are. Then the ids of both as
    ``prompt_tokens`` and ``tokens`` where the rollout has them, and what else is known of it. ``likelihood_under`` says
    whose ``mean_logp`` is: of the ``behaviour`` policy, which sampled, or of the ``present`` one.
    """
    said = words(record)
    if prompt is not None and isinstance(said, tuple):
        said = as_given(prompt, *said)
    ids = token_ids(record)
    known = {name: record.fields.get(name) for name in ("step", "stop_reason", "rendered")}
    read = choice.candidate
    return {
        "problem_id": read.problem_id,
        **_content(said),
        **({} if ids is None else {"prompt_tokens": ids[0], "tokens": ids[1]}),
        "reward": read.reward,
        "mean_logp": read.mean_logp,
        **({} if read.num_tokens is None else {"num_tokens": read.num_tokens}),
        "likelihood_under": under,
        "reason": choice.reason,
        **{name: value for name, value in known.items() if value is not None and value is not False},
    }


def _content(said: tuple[str, str] | Messages) -> dict[str, Any]:
    if isinstance(said, tuple):
        return {"prompt": said[0], "completion": said[1]}
    return {"messages": said, "prompt": said[:-1], "completion": said[-1:]}


def as_given(wording: Wording, problem: str, completion: str) -> tuple[str, str] | list[dict[str, str]]:
    """The words the model was really given, with its response."""
    given = wording.prompt(problem)
    if isinstance(given, str):
        return given, completion
    return [*given, {"role": "assistant", "content": wording.opening + completion}]


def run_folder(source: str) -> Path | None:
    """Return the run that ``source`` belongs to (the run, its rollouts/, a file there); None where it is of none."""
    path = Path(source).absolute()
    for folder in (path, *path.parents[:2]):
        if (folder / "run.json").is_file() and (folder / "rollouts").is_dir():
            return folder
    return None


def run_prompt(source: str) -> Wording | None:
    """Return the prompt settings of the run that ``source`` belongs to, or None."""
    folder = run_folder(source)
    if folder is None:
        return None
    try:
        return wording_of_settings(read_record(folder / "run.json")["recipe"]["prompt"])
    except (RunError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{folder / 'run.json'} does not say how the run put its prompts ({error!r}); put the file back as it "
            "was written."
        ) from None


def _select(
    members: Sequence[tuple[int, Candidate]], k: int, pool: Pool, quantile: float, rng: np.random.Generator
) -> list[Selected]:
    return select_demonstrations(
        np.array([read.likelihood for _, read in members]),
        np.array([read.reward for _, read in members]),
        k,
        pool=pool,
        quantile=quantile,
        rng=rng,
    )


def _group_seed(seed: int, key: Key) -> int:
    """A run names the draws of a group by its number; so does this, and chooses what the run chose."""
    number = key[-1].removeprefix("group ")
    return derive_seed(seed, "l2te", number) if number != key[-1] else derive_seed(seed, "l2te", *key)
