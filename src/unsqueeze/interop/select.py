"""L2TE over files of rollouts: choose by the scalars first, then copy the words of what was chosen.

Files are read twice, so that memory holds a few numbers a rollout and never the texts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from unsqueeze.algos.selection import Likelihood, Pool, Selected, select_demonstrations
from unsqueeze.errors import RunError, UserError
from unsqueeze.interop.rollout_files import (
    SCALAR_COLUMNS,
    WORD_COLUMNS,
    Candidate,
    Key,
    candidate,
    read_records,
    token_ids,
    words,
)
from unsqueeze.interop.sample_files import Record
from unsqueeze.seeds import derive_seed
from unsqueeze.store.records import read_record
from unsqueeze.tasks.styles import Wording, wording_of_settings


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

    def describe(self) -> str:
        """One sentence or a few: how many of what were chosen, and what could not be."""
        negatives = sum(choice.candidate.reward <= 0 for choice in self.chosen.values())
        parts = [
            f"{len(self.chosen):,} demonstrations ({negatives:,} negative, {len(self.chosen) - negatives:,} positive) "
            f"of {self.num_rollouts:,} rollouts in {self.num_groups:,} groups"
        ]
        if self.num_short_groups:
            parts.append(f"{self.num_short_groups:,} groups had fewer than k to give")
        if self.num_not_judged:
            parts.append(f"{self.num_not_judged:,} rollouts were not judged")
        if self.num_unknown:
            parts.append(f"{self.num_unknown:,} rollouts have no likelihood")
        return "; ".join(parts)


def select_from_files(
    files: Sequence[str], k: int, *, pool: Pool, quantile: float, likelihood: Likelihood, seed: int
) -> Selection:
    """``algos.selection.select_demonstrations`` on every group of the files. UserError where nothing can be chosen.

    The draws of a group depend on the seed and on what names the group, not on the groups beside it. A rollout with a
    reward above 0 is a positive.
    """
    groups: dict[Key, list[tuple[int, Candidate]]] = {}
    selection = Selection()
    for place, record in enumerate(read_records(files, SCALAR_COLUMNS)):
        read = candidate(record, likelihood)
        groups.setdefault(read.key, []).append((place, read))
        selection.num_rollouts += 1
        selection.num_not_judged += bool(np.isnan(read.reward))
        selection.num_unknown += not np.isfinite(read.likelihood)
    selection.num_groups = len(groups)
    for key, members in groups.items():
        rng = np.random.default_rng(_group_seed(seed, key))
        chosen = _select(members, k, pool, quantile, rng)
        selection.num_short_groups += len(chosen) < k
        for one in chosen:
            place, read = members[one.index]
            selection.chosen[place] = Choice(read, one.reason)
    if not selection.chosen:
        others = f" and {len(files) - 1} more files" if len(files) > 1 else ""
        raise UserError(
            f"{files[0]}{others}: nothing to choose among {selection.num_rollouts:,} rollouts for the pool {pool!r}: "
            f"{selection.num_not_judged:,} were not judged, {selection.num_unknown:,} have no likelihood. Try another "
            "pool, or give rollouts with rewards and log-probs."
        )
    return selection


def demonstrations(files: Sequence[str], selection: Selection, prompt: Wording | None) -> Iterator[dict[str, Any]]:
    """The chosen rollouts with their words, in the order of the files, ready to be written as JSON."""
    for place, record in enumerate(read_records(files, WORD_COLUMNS)):
        if place in selection.chosen:
            yield demonstration(record, selection.chosen[place], prompt)


def demonstration(record: Record, choice: Choice, prompt: Wording | None) -> dict[str, Any]:
    """One JSON object: ``messages`` or ``prompt`` and ``completion``, the ids of both as ``prompt_tokens`` and
    ``tokens`` where the rollout has them, and what else is known of it.
    """
    said = words(record)
    if prompt is not None and isinstance(said, tuple):
        said = as_given(prompt, *said)
    content = {"prompt": said[0], "completion": said[1]} if isinstance(said, tuple) else {"messages": said}
    ids = token_ids(record)
    known = {"step": record.fields.get("step"), "stop_reason": record.fields.get("stop_reason")}
    return {
        "problem_id": choice.candidate.problem_id,
        **content,
        **({} if ids is None else {"prompt_tokens": ids[0], "tokens": ids[1]}),
        "reward": choice.candidate.reward,
        "mean_logp": choice.candidate.mean_logp,
        "reason": choice.reason,
        **{name: value for name, value in known.items() if value is not None},
    }


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
        raise UserError(f"{folder / 'run.json'} does not say how the run put its prompts: {error!r}.") from None


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
