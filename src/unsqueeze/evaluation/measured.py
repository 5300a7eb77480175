"""Settings under which samples were measured, read from beside them, and in what two sides differ."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from unsqueeze.errors import RunError, UserError
from unsqueeze.evaluation.result import Evaluation
from unsqueeze.evaluation.settings import recipe_of
from unsqueeze.evaluation.tallying import sample_source
from unsqueeze.evaluation.votes import as_vote
from unsqueeze.metrics.tally import Tally
from unsqueeze.store.records import read_record
from unsqueeze.store.run_directory import RunDirectory
from unsqueeze.tasks.styles import wording_of_settings
from unsqueeze.verify.math_verifier import MathVerifier
from unsqueeze.verify.verdict import Verdict

DRAWN = ("temperature", "top_p", "top_k", "max_tokens", "stop", "end_tokens")
PROMPT = ("mode", "template", "system", "opening")
NAMES = (*DRAWN, *PROMPT, "credit")
"""Settings that a comparison must not mix: how samples are drawn, how problems are put, how answers are judged."""


def measured_by(source: Any) -> dict[str, Any]:
    """Return the settings of a run, of an evaluation's directory, or of an evaluation; nothing for other samples.

    Under ``verifier`` stands who judged each benchmark, as the samples say it; its name holds what verdicts depend on,
    so that ``credit`` is left out.
    """
    if isinstance(source, Evaluation):
        found, verifiers = of_record(source.record), verifiers_of(source.samples)
    elif isinstance(source, str | Path):
        path = Path(source)
        found, verifiers = _beside(path.parent if path.is_file() else path), _verifiers_in(str(source))
    else:
        return {}
    if verifiers:
        found.pop("credit", None)
        found["verifier"] = verifiers
    return found


def of_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """Read them from the record of an evaluation; what differs between its benchmarks is left out."""
    parts = [part for part in record.get("settings", {}).values() if isinstance(part, Mapping)]
    found = {name: record[name] for name in NAMES if name in record}
    for name in NAMES:
        values = [part[name] for part in parts if name in part]
        if values and all(value == values[0] for value in values):
            found[name] = values[0]
    return ({"stop": [], "end_tokens": []} if parts else {}) | found


def of_run(run: RunDirectory) -> dict[str, Any]:
    """Read them from the recipe of a run."""
    try:
        recipe = recipe_of(run)
    except UserError:
        return {}  # a run of another version may still be compared
    if recipe is None:
        return {}
    wording = wording_of_settings(recipe.prompt.model_dump(mode="json"))
    return {
        "temperature": recipe.evaluation.temperature,
        "top_p": recipe.evaluation.top_p,
        "top_k": recipe.evaluation.top_k,
        "max_tokens": recipe.rollout.max_tokens,
        "stop": list(recipe.rollout.stop),
        "end_tokens": list(recipe.rollout.end_tokens),
        **{name: getattr(wording, name) for name in PROMPT},
        "credit": recipe.verify.credit,
    }


def verifiers_of(samples: pa.Table) -> dict[str, str]:
    """Return who judged each benchmark; several names where several did."""
    pairs = samples.select(["benchmark", "verifier"]).group_by(["benchmark", "verifier"]).aggregate([])
    named: dict[str, set[str]] = {}
    for benchmark, verifier in zip(pairs["benchmark"].to_pylist(), pairs["verifier"].to_pylist(), strict=True):
        named.setdefault(benchmark, set()).add(str(verifier))
    return {benchmark: "; ".join(sorted(names)) for benchmark, names in named.items()}


def differing_settings(first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[str]:
    """Say in which settings that are known of both sides they differ."""
    for name in NAMES:
        if name in first and name in second and first[name] != second[name]:
            yield f"{name} {json.dumps(first[name])} and {json.dumps(second[name])}"
    theirs = second.get("verifier", {})
    for benchmark, verifier in first.get("verifier", {}).items():
        if benchmark in theirs and theirs[benchmark] != verifier:
            yield f"{benchmark} is judged by {verifier!r} and {theirs[benchmark]!r}"


def check_same_problems(first: Tally, second: Tally, verifier: MathVerifier) -> None:
    """UserError naming a problem whose gold answer, where both sides know it, is another on the second side.

    Two that are written differently are the same where ``verifier`` says so.
    """
    theirs = dict(zip(zip(second.benchmarks, second.problem_ids, strict=True), second.golds, strict=True))
    keys = zip(first.benchmarks, first.problem_ids, strict=True)
    pairs = [(key, gold, theirs.get(key)) for key, gold in zip(keys, first.golds, strict=True)]
    unlike = [
        (key, gold, other)
        for key, gold, other in pairs
        if gold is not None and other is not None and as_vote(gold) != as_vote(other)
    ]
    if not unlike:
        return
    judgements = verifier.verify_answers(
        [gold for _, gold, _ in unlike], [f"\\boxed{{{other}}}" for _, _, other in unlike]
    )
    for ((benchmark, problem_id), gold, other), judgement in zip(unlike, judgements, strict=True):
        if judgement.verdict is not Verdict.CORRECT:
            raise UserError(
                f"problem {problem_id!r}{f' of {benchmark}' if benchmark else ''} has the gold answer {gold[:80]!r} on "
                f"the first side and {other[:80]!r} on the second: they are not the same problems; compare samples of "
                f"one set."
            )


def _beside(folder: Path) -> dict[str, Any]:
    """The settings of the evaluation, or of the run, that holds a folder's samples."""
    if (folder / "summary.json").is_file():
        return of_record(_read(folder / "summary.json"))
    for place in (folder, folder.parent):
        if (place / "run.json").is_file():
            return of_run(RunDirectory.open(place))
    return {}


def _verifiers_in(source: str) -> dict[str, str]:
    """Name who judged the samples of a path, where they are of our form and say it."""
    path = Path(sample_source(source))
    if path.suffix != ".parquet" or not path.is_file():
        return {}
    try:
        with pq.ParquetFile(path) as file:
            known = {"benchmark", "verifier"} <= set(file.schema_arrow.names)
            return verifiers_of(file.read(["benchmark", "verifier"])) if known else {}
    except (OSError, pa.ArrowException):
        return {}  # what is wrong with a file is said where its samples are read


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_record(path)
    except RunError:
        return {}
