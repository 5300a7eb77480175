"""The rollouts and samples of a report: which are shown, and all that a page says of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from unsqueeze.api.runs import open_run
from unsqueeze.errors import UnsqueezeError, one_line
from unsqueeze.metrics.histogram import place_in_histogram
from unsqueeze.plain_json import dumps
from unsqueeze.report.charts import NUM_INNER_BINS
from unsqueeze.report.model import Report, RunRecord
from unsqueeze.report.packing import length_codes, logp_codes, pack, rounded
from unsqueeze.report.pieces import Pieces, pieces_of
from unsqueeze.rollout.types import Group, StopReason
from unsqueeze.store.run_directory import RunDirectory
from unsqueeze.store.samples import SAMPLE_SCHEMA
from unsqueeze.store.table import read_table
from unsqueeze.tasks.task import task_named
from unsqueeze.training.estimating import estimator_of
from unsqueeze.training.rl_rows import advantages_of
from unsqueeze.verify.verdict import Verdict
from unsqueeze.wording import counted

MOST_ROLLOUTS = 50_000
MOST_BYTES = 13_500_000
"""Bounds on what a page holds of rollouts and samples; ``page.render`` gives less room where the rest needs it."""

LONGEST_TEXT = 200_000
"""Characters of a text that are kept; of a longer one the page says how many there were."""

PROBLEMS_A_BLOCK = 4

VERDICTS = dict(zip(Verdict, "cwutlxg", strict=True))
STOPS = dict(zip(StopReason, "esl", strict=True))


@dataclass(slots=True)
class Packed:
    """What a page holds: blocks by name, the index of groups, what is left out, and the prompts of problems.

    ``size`` are the bytes of blocks, index and texts of problems, of which there are at most ``room``; ``is_full`` once
    a block did not fit, after which nothing more is read. ``texts_left_out`` are those that did not fit, each once.
    """

    room: int = MOST_BYTES
    is_full: bool = False
    blocks: dict[str, str] = field(default_factory=dict)
    groups: list[dict[str, Any]] = field(default_factory=list)
    rollouts: dict[str, list[Any]] = field(
        default_factory=lambda: {"verdict": [], "stop": [], "tokens": [], "logp": [], "chosen": []}
    )
    problems: dict[tuple[str, str], int] = field(default_factory=dict)
    prompts: dict[int, str] = field(default_factory=dict)
    golds: dict[int, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    size: int = 0
    texts_left_out: set[str] = field(default_factory=set)

    def add(self, name: str, groups: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> bool:
        """Add a block of groups: what the index says of each, and its rollouts. False if there is no room for it."""
        block = pack({"groups": [inside for _, inside in groups]})
        listed = [
            about | {"block": name, "place": place, "size": len(inside["text"])}
            for place, (about, inside) in enumerate(groups)
        ]
        index: dict[str, list[Any]] = {
            "verdict": ["".join(inside["verdict"]) for _, inside in groups],
            "stop": ["".join(inside["stop"]) for _, inside in groups],
            "tokens": [inside["tokens"] for _, inside in groups],
            "logp": [inside["mean_logp"] for _, inside in groups],
            "chosen": [sorted(map(int, inside["chosen"])) for _, inside in groups],
        }
        size = len(block) + len(dumps(listed)) + len(pack(index))  # packed together, indices are no larger
        if self.size + size > self.room:
            self.is_full = True
            return False
        self.blocks[name] = block
        self.size += size
        self.groups += listed
        for key, values in index.items():
            self.rollouts[key] += values
        return True

    def problem(self, benchmark: str, problem_id: str, gold: str | None, prompt: str | None = None) -> int:
        """Return the number of a problem."""
        number = self.problems.setdefault((benchmark, problem_id), len(self.problems))
        if gold is not None:
            self._say(self.golds, number, gold)
        if prompt is not None:
            self._say(self.prompts, number, prompt)
        return number

    def _say(self, texts: dict[int, str], number: int, text: str) -> None:
        if number in texts:
            return
        size = len(dumps(text[:LONGEST_TEXT]))
        if self.size + size > self.room:
            self.texts_left_out.add(text)
            return
        texts[number] = text[:LONGEST_TEXT]
        self.size += size

    def to_json_object(self) -> dict[str, Any]:
        """Return what the page reads at once; blocks are apart."""
        return {
            "groups": self.groups,
            "problems": [
                {"benchmark": key[0], "id": key[1], "gold": self.golds.get(n), "prompt": self.prompts.get(n)}
                for key, n in self.problems.items()
            ],
            "left_out": self.left_out,
            "verdicts": {code: verdict.value for verdict, code in VERDICTS.items()},
            "stops": {code: reason.value for reason, code in STOPS.items()},
        }


def packed(report: Report, *, most: int = MOST_ROLLOUTS, room: int = MOST_BYTES) -> Packed:
    """Return the samples of evaluations and the rollouts of every run, evenly spread over its steps as far as there is
    room: at most so many rollouts, and bytes.
    """
    found = Packed(room=room)
    evaluations = _evaluations(report)
    for place, evaluation in enumerate(evaluations):
        if found.is_full:
            further = counted(len(evaluations) - place, "further evaluation")
            found.left_out.append(f"all samples of {further}: there is no room left.")
            break
        _add_samples(found, evaluation)
    trainings = report.trainings
    for run in trainings:
        _add_rollouts(found, run, most // max(1, len(trainings)))
    for run in trainings:
        _add_prompts(found, run)
    if found.texts_left_out:
        found.left_out.append(
            f"{counted(len(found.texts_left_out), 'text')} of questions and gold answers: no room is left."
        )
    found.blocks["rollout-index"] = pack(found.rollouts)
    return found


def _add_prompts(found: Packed, run: RunRecord) -> None:
    """Add the questions of held-out problems, which samples do not hold, where the run's data is on this machine."""
    if run.recipe is None or run.recipe.data.kind == "hub":
        return
    try:
        data = task_named(run.recipe.data.kind).load(run.recipe.data)
    except (UnsqueezeError, OSError):
        return
    known = {problem.id: problem for problem in (*data.test, *data.validation)}
    for (benchmark, problem_id), number in found.problems.items():
        problem = known.get(problem_id)
        if problem is not None and problem.answer[:LONGEST_TEXT] == found.golds.get(number):
            found.problem(benchmark, problem_id, None, problem.prompt)


def _evaluations(report: Report) -> list[tuple[RunRecord, int | None, Path]]:
    """Return every evaluation with samples, the ends of runs first, so that they are the last to be left out."""
    ends: list[tuple[RunRecord, int | None, Path]] = []
    between: list[tuple[RunRecord, int | None, Path]] = []
    for _, run in report.runs:
        for place, each in enumerate(run.checkpoints):
            if each.samples is not None:
                at_end = place in (0, len(run.checkpoints) - 1)
                (ends if at_end else between).append((run, each.step, each.samples))
    return [*ends, *between]


def _add_samples(found: Packed, evaluation: tuple[RunRecord, int | None, Path]) -> None:
    run, step, path = evaluation
    name = f"{run.label}{'' if step is None else f', evaluation after step {step}'}"
    try:
        rows = read_table(path, SAMPLE_SCHEMA).to_pylist()
    except UnsqueezeError as error:
        found.left_out.append(f"{name}: {one_line(error)}")
        return
    by_problem: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        by_problem.setdefault((row["benchmark"] or "", row["problem_id"]), []).append(row)
    left = 0
    problems = list(by_problem.items())
    for start in range(0, len(problems), PROBLEMS_A_BLOCK):
        some = problems[start : start + PROBLEMS_A_BLOCK]
        groups = [
            (
                {
                    "run": run.label,
                    "kind": "evaluation",
                    "step": step,
                    "phase": None,
                    "problem": found.problem(*key, samples[0]["gold"]),
                    "right": (right := sum(each["correct"] is True for each in samples)),
                    "bin": int(place_in_histogram([len(samples)], [right], NUM_INNER_BINS)[1][0]),
                },
                _samples(samples),
            )
            for key, samples in some
        ]
        if not found.add(f"block-{len(found.blocks)}", groups):
            left += len(some)
    if left:
        found.left_out.append(f"{name}: the samples of {left} of {len(by_problem)} problems, which would not fit.")


def _samples(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "index": [row["index"] for row in rows],
        "text": [row["text"][:LONGEST_TEXT] for row in rows],
        "characters": [len(row["text"]) for row in rows],
        "verdict": [VERDICTS[Verdict(row["verdict"])] for row in rows],
        "stop": [STOPS[StopReason(row["stop_reason"])] for row in rows],
        "extracted": [row["extracted"] for row in rows],
        "reason": [row["reason"] for row in rows],
        "tokens": [row["num_tokens"] for row in rows],
        "mean_logp": [rounded(row["mean_logp"]) for row in rows],
        "chosen": {},
    }


def _add_rollouts(found: Packed, run: RunRecord, most: int) -> None:
    """Add the rollouts of steps that are spread evenly over the run, at most so many."""
    directory = RunDirectory.open(run.path)
    steps = directory.rollouts.steps()
    if not steps:
        return
    if found.is_full:
        found.left_out.append(f"{run.label}: all rollouts; there is no room left. They are in {run.path / 'rollouts'}.")
        return
    try:
        demos = open_run(run.path).demonstrations().to_pylist()
    except (UnsqueezeError, pa.ArrowException) as error:
        found.left_out.append(f"{run.label}: what L2TE chose; {one_line(error)}")
        demos = []
    pieces = pieces_of(run.path, run.recipe)
    if pieces is None:
        found.left_out.append(
            f"{run.label}: colours by token; the run has no checkpoint yet, and its model is not on this machine."
        )
    chosen = {(demo["step"], demo["group"], demo["index"]): demo for demo in demos}
    advantages = _Advantages(run)
    shown, count, damaged = 0, 0, 0
    for step in spread(steps):
        if count >= most:
            break
        try:
            groups = directory.rollouts.read(step)
        except UnsqueezeError as error:
            found.left_out.append(f"{run.label}, step {step}: {one_line(error)}")
            damaged += 1
            continue
        values = advantages.of(groups)
        block = [
            (
                {
                    "run": run.label,
                    "kind": "rollouts",
                    "step": step,
                    "phase": group.rollouts[0].phase,
                    "problem": found.problem(
                        group.problem.task, group.problem.id, group.problem.answer, group.problem.prompt
                    ),
                    "right": sum(each.verdict is Verdict.CORRECT for each in group.judgements),
                },
                _rollouts(group, step, pieces, chosen, advantage_G),
            )
            for group, advantage_G in zip(groups, values, strict=True)
        ]
        if not found.add(f"block-{len(found.blocks)}", block):
            break
        shown += 1
        count += sum(len(group.rollouts) for group in groups)
    if shown + damaged < len(steps):
        found.left_out.append(
            f"{run.label}: the rollouts of {len(steps) - shown - damaged} of {len(steps)} steps; those of {shown} "
            f"steps, spread evenly, are here, {count:,} rollouts. All are in {run.path / 'rollouts'}."
        )
    if advantages.trouble:
        found.left_out.append(f"{run.label}: advantages; {advantages.trouble}")


def spread(steps: Sequence[int]) -> list[int]:
    """Return the steps in an order in which any first few of them are spread evenly: the ends, then halves, quarters.

    Every step is there once.
    """
    order = [0, len(steps) - 1]
    width = len(steps) - 1
    while width > 1:
        width = -(-width // 2)
        order += range(0, len(steps), width)
    return [steps[place] for place in dict.fromkeys([*order, *range(len(steps))])]


class _Advantages:
    """Advantages of stored groups, from the estimator that the recipe names, as training takes them."""

    def __init__(self, run: RunRecord) -> None:
        self.trouble = ""
        self._recipe = run.recipe
        self._estimator = None
        if run.info.get("own", {}) and (run.info["own"] or {}).get("advantages"):
            self.trouble = f"they are of {run.info['own']['advantages']}, which was given in Python."
            return
        try:
            self._estimator = None if run.recipe is None else estimator_of(run.recipe.rl)
        except UnsqueezeError as error:
            self.trouble = one_line(error)

    def of(self, groups: Sequence[Group]) -> list[list[float | None]]:
        """Return an advantage a rollout; of advantages by token their mean; None where it does not train."""
        unknown: list[list[float | None]] = [[None] * len(group.rollouts) for group in groups]
        if self._estimator is None or self._recipe is None or not groups:
            return unknown
        try:
            given = advantages_of(groups, self._recipe.rl, self._estimator, max_tokens=self._recipe.rollout.max_tokens)
        except (UnsqueezeError, ValueError, RuntimeError) as error:
            self.trouble = one_line(error)
            return unknown
        values = given.values if given.values.ndim == 2 else _mean_over_tokens(given.values, groups)
        return [
            [rounded(value) if trains else None for value, trains in zip(row, trained, strict=True)]
            for row, trained in zip(values.tolist(), given.trains_PG.tolist(), strict=True)
        ]


def _mean_over_tokens(values_PGT: torch.Tensor, groups: Sequence[Group]) -> torch.Tensor:
    lengths_PG = torch.tensor(
        [[max(1, len(each.completion.tokens)) for each in group.rollouts] for group in groups], dtype=torch.float32
    )
    return values_PGT.sum(dim=-1) / lengths_PG


def _rollouts(
    group: Group,
    step: int,
    pieces: Pieces | None,
    chosen: Mapping[tuple[int, int, int], Mapping[str, Any]],
    advantage_G: Sequence[float | None],
) -> dict[str, Any]:
    completions = [rollout.completion for rollout in group.rollouts]
    demos = {
        place: found
        for place, rollout in enumerate(group.rollouts)
        if (found := chosen.get((step, rollout.group, rollout.index))) is not None
    }
    return {
        "index": [rollout.index for rollout in group.rollouts],
        "text": [each.text[:LONGEST_TEXT] for each in completions],
        "characters": [len(each.text) for each in completions],
        "verdict": [VERDICTS[each.verdict] for each in group.judgements],
        "stop": [STOPS[each.stop_reason] for each in completions],
        "extracted": [each.extracted for each in group.judgements],
        "reason": [each.reason for each in group.judgements],
        "reward": [rounded(each.verdict.reward) for each in group.judgements],
        "advantage": list(advantage_G),
        "tokens": [len(each.tokens) for each in completions],
        "mean_logp": [rounded(each.mean_logp) for each in completions],
        "logp": [logp_codes(each.logp_raw) for each in completions],
        "pieces": [
            "" if pieces is None else length_codes(pieces.lengths(each.tokens.tolist(), each.text))
            for each in completions
        ],
        "chosen": {
            str(place): f"{demo['reason']} (place {demo['rank'] + 1} by likelihood), for IRL phase {demo['phase']}"
            for place, demo in demos.items()
        },
    }
