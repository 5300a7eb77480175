"""Judging answers, scoring samples and comparing models.

    import unsqueeze as uq

    judgements = uq.judge(golds, responses)
    summary = uq.score(problem_ids, judgements)
    comparison = uq.compare((problem_ids, before), (problem_ids, after))

Samples are also taken from files, from the directories of runs and evaluations, and from Arrow tables.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from unsqueeze.errors import UserError
from unsqueeze.evaluation.file_notes import FileNotes
from unsqueeze.evaluation.identities import check_by
from unsqueeze.evaluation.measured import check_same_problems, differing_settings, measured_by
from unsqueeze.evaluation.result import Evaluation
from unsqueeze.evaluation.settings import verify_settings
from unsqueeze.evaluation.sides import paired_by_seed, sides_of
from unsqueeze.evaluation.summarise import tally_of
from unsqueeze.evaluation.tallying import own_samples, sample_source, tally_samples
from unsqueeze.evaluation.verdict_files import count_samples, write_verdicts
from unsqueeze.extensions import EXPORTERS
from unsqueeze.interop.exporters import COLUMNS, Exporter, grouped
from unsqueeze.interop.sample_files import read_samples
from unsqueeze.metrics.comparison import Comparison, compare_tallies
from unsqueeze.metrics.cover import TAUS
from unsqueeze.metrics.reliability_summary import check_taus
from unsqueeze.metrics.summary import Summary, powers_of_two_up_to, summaries_by_benchmark, summarise_tally
from unsqueeze.metrics.tally import Tallier, Tally, called_alike
from unsqueeze.progress import Progress, Silent
from unsqueeze.tasks.problem import Problem
from unsqueeze.tasks.task import task_named
from unsqueeze.verify.math_verifier import MathVerifier, make_math_verifier
from unsqueeze.verify.verdict import Judgement, Verdict, of_unreadable_gold
from unsqueeze.verify.verifiers import make_verifier

Outcome = bool | int | Verdict | Judgement | None
"""Outcome of a sample: is it correct? None and verdicts that are no judgement count as wrong, and apart."""

Samples = tuple[Sequence[Hashable], Sequence[Outcome]]
"""The problem of every sample, and its outcome."""

Source = str | Path | Evaluation | Any
"""A file or directory of samples, an evaluation, or an Arrow table with ``problem_id`` and ``correct``."""


def judge(
    golds: Sequence[str] | Sequence[Problem],
    responses: Sequence[str],
    *,
    credit: str | None = None,
    workers: int | None = None,
    timeout_s: float | None = None,
    memory_mb: int | None = None,
) -> list[Judgement]:
    """Return one judgement per pair of gold answer and response, in order.

    ``golds`` are answers of mathematics (``verify.math_verifier.MathVerifier``), or problems of one task, whose own
    verifier judges. The verifier is started and ended in the call; ``make_verifier`` gives one to keep. Settings that
    are not given are those of ``config.rollout_settings.VerifySettings``.
    """
    problems = [gold for gold in golds if isinstance(gold, Problem)]
    if not problems:
        with verifier_of(credit, workers, timeout_s, memory_mb) as verifier:
            return verifier.verify_answers([str(gold) for gold in golds], responses)
    tasks = sorted({problem.task for problem in problems})
    if len(problems) < len(golds) or len(tasks) > 1:
        raise UserError("golds must all be answers, or all be problems of one task; judge them apart.")
    settings = verify_settings(credit=credit, workers=workers, timeout_s=timeout_s, memory_mb=memory_mb)
    with closing(make_verifier(task_named(tasks[0]), settings)) as by_task:
        return by_task.verify(problems, responses)


def judge_file(
    source: str,
    out: str,
    *,
    credit: str | None = None,
    workers: int | None = None,
    timeout_s: float | None = None,
    memory_mb: int | None = None,
    explain: bool = False,
    skip_bad: bool = False,
    progress: Progress | None = None,
) -> Counter[str]:
    """Copy a file of samples with a verdict for every sample; return how many there are of each.

    ``explain`` adds what was extracted and the reason. ``skip_bad`` leaves out lines that cannot be read. Warns of
    these, and of gold answers that cannot be read. ``-`` stands for standard input and output.
    """
    shown, notes = progress or Silent(), FileNotes(skip_bad=skip_bad)
    with verifier_of(credit, workers, timeout_s, memory_mb) as verifier:
        total = count_samples(source, FileNotes(skip_bad=skip_bad))
        with shown.work("verifying", total or 0) as advance:
            on_finished = advance if total else None
            counts = write_verdicts(source, out, verifier, notes, explain=explain, on_finished=on_finished)
    notes.tell(shown)
    return counts


def score(
    samples: Source | Sequence[Hashable],
    outcomes: Sequence[Outcome] | None = None,
    *,
    ks: Iterable[int] | None = None,
    taus: Iterable[float] | None = None,
    benchmarks: Sequence[str] | None = None,
    by: str = "benchmark",
    credit: str | None = None,
    workers: int | None = None,
    timeout_s: float | None = None,
    memory_mb: int | None = None,
    skip_bad: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
) -> Summary:
    """Estimate Avg@n, Pass@k, coverage (and maj@n, where answers are known) with 95 % intervals over problems.

    ``samples`` are the problem ids, one a sample, with their ``outcomes``; or a file, a directory, an evaluation, or a
    table. Samples of a file that carry no verdict are judged. ``ks`` defaults to 1, 2, 4, … and the most samples.
    Several benchmarks (``benchmarks``, or the field ``by``) are parts of the summary. ``skip_bad`` leaves out lines of
    a file that cannot be read. Warns of these, and of gold answers that cannot be read. ``taus`` are the success rates
    of Cover@τ and G-Pass@k (``Summary.reliability``; default: 0.25, 0.5, 0.75, 0.9).
    """
    shares = TAUS if taus is None else check_taus(taus)
    with verifier_of(credit, workers, timeout_s, memory_mb) as verifier:
        given = samples if outcomes is None else (samples, outcomes)
        tally = tally_of_source(given, verifier, benchmarks, by, progress or Silent(), skip_bad=skip_bad)
    wanted = powers_of_two_up_to(tally.max_samples) or [1] if ks is None else list(ks)
    summary = summarise_tally(tally, wanted, taus=shares, seed=seed)
    return replace(summary, benchmarks=summaries_by_benchmark(tally, wanted, taus=shares, seed=seed))


def compare(
    first: Source | Samples | list[Any],
    second: Source | Samples | list[Any],
    *,
    ks: Iterable[int] | None = None,
    taus: Iterable[float] | None = None,
    by: str = "benchmark",
    credit: str | None = None,
    workers: int | None = None,
    timeout_s: float | None = None,
    memory_mb: int | None = None,
    skip_bad: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
) -> Comparison:
    """Return paired differences, second minus first, of Avg@n, Pass@k and what else ``score`` estimates of samples, on
    the problems that both have, and the problems lost and gained by the first side's success rate.

    Each side is problem ids with outcomes, or what ``score`` takes; or a list of such, one a seed, which are paired by
    problem and seed (``evaluation.sides``). Warns, naming the setting, where two evaluations were measured differently.
    UserError where they have no problem in common, or another gold answer to the same one.
    """
    named = [(_name(side), side) for side in (first, second)]
    with verifier_of(credit, workers, timeout_s, memory_mb) as verifier:
        return _compare(named, ks, taus, by, seed, verifier, progress or Silent(), skip_bad)[0]


def compare_all(
    sides: Sequence[str] | Mapping[str, Source | Samples | list[Any]],
    *,
    ks: Iterable[int] | None = None,
    taus: Iterable[float] | None = None,
    by: str = "benchmark",
    credit: str | None = None,
    workers: int | None = None,
    timeout_s: float | None = None,
    memory_mb: int | None = None,
    skip_bad: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[tuple[str, str], Comparison]:
    """Compare every side after the first with the first; return what came of it by the names of both, (other, first).

    ``sides`` are named, or what ``unsqueeze compare`` takes: paths, FOLDER:ARM, folders of arms, NAME=PATH; what has
    the same name is one side, of several seeds. The rest is as for ``compare``.
    """
    found = dict(sides) if isinstance(sides, Mapping) else sides_of(list(sides))
    if len(found) < 2:
        raise UserError(
            f"compare: two sides or more are needed, and {', '.join(found) or 'nothing'} is given; add another, or "
            f"give a folder that holds several arms."
        )
    named = list(found.items())
    with verifier_of(credit, workers, timeout_s, memory_mb) as verifier:
        comparisons = _compare(named, ks, taus, by, seed, verifier, progress or Silent(), skip_bad)
    return {(name, named[0][0]): made for (name, _), made in zip(named[1:], comparisons, strict=True)}


def _compare(
    sides: Sequence[tuple[str, Any]],
    ks: Iterable[int] | None,
    taus: Iterable[float] | None,
    by: str,
    seed: int,
    verifier: MathVerifier,
    progress: Progress,
    skip_bad: bool,
) -> list[Comparison]:
    """Compare each side but the first with the first."""
    sources = paired_by_seed([(name, side if isinstance(side, list) else [side]) for name, side in sides])
    read: dict[int, Tally] = {}
    for source in (source for side in sources for source in side):
        if id(source) not in read:
            read[id(source)] = tally_of_source(source, verifier, None, by, progress, skip_bad=skip_bad)
    tallies = dict(zip(read, called_alike(list(read.values())), strict=True))
    first, *others = [[tallies[id(source)] for source in side] for side in sources]
    for tally in tallies.values():
        check_same_problems(first[0], tally, verifier)
    measured = [(name, measured_by(source)) for (name, _), side in zip(sides, sources, strict=True) for source in side]
    name, own = measured[0]
    for told in dict.fromkeys(
        f"{'the two sides' if len(sides) == 2 else f'{name} and {other}'} were measured differently: {difference}"
        for other, settings in measured[1:]
        for difference in differing_settings(own, settings)
    ):
        progress.warn(told)
    most = min(tally.max_samples for tally in tallies.values())
    wanted = powers_of_two_up_to(most) or [1] if ks is None else list(ks)
    shares = TAUS if taus is None else check_taus(taus)
    comparisons = [compare_tallies(first, other, wanted, taus=shares, seed=seed) for other in others]
    for (other_name, _), other, comparison in zip(sides[1:], others, comparisons, strict=True):
        if comparison.num_problems == 0:
            raise UserError(
                f"{sides[0][0]} and {other_name} have no problem in common ({len(first[0].problem_ids)} and "
                f"{len(other[0].problem_ids)} problems). Both must name their problems alike in problem_id."
            )
    return comparisons


def export(samples: str, out: str | Path, *, to: str = "evalscope") -> tuple[int, int]:
    """Write samples in the form that another evaluator reads; return the numbers of samples and of problems.

    ``to`` names an exporter (``extensions.EXPORTERS``), or is ``package.module:function`` of one's own.
    """
    if Path(out).exists():
        raise UserError(f"{out} exists already; name a folder that does not.")
    write: Exporter = EXPORTERS.resolve(to)
    groups = grouped(read_samples(sample_source(samples), COLUMNS))
    return write(groups, Path(out)), len(groups)


def verifier_of(
    credit: str | None, workers: int | None, timeout_s: float | None, memory_mb: int | None
) -> MathVerifier:
    """Return the verifier of samples that carry no verdict. What is None has its default."""
    settings = verify_settings(credit=credit, workers=workers, timeout_s=timeout_s, memory_mb=memory_mb)
    return make_math_verifier(settings)


def _name(side: Any) -> str:
    return str(side) if isinstance(side, str | Path) else "one side"


def tally_of_source(
    samples: Any,
    verifier: MathVerifier,
    benchmarks: Sequence[str] | None,
    by: str,
    progress: Progress,
    *,
    skip_bad: bool = False,
) -> Tally:
    """Count samples, whatever they come as: a path, an evaluation, a table, or problem ids with their outcomes."""
    if isinstance(samples, str | Path):
        found = sample_source(str(samples))
        if found != str(samples):
            progress.say(f"{samples}: reading {found}")
        if by == "benchmark" and (table := own_samples(found)) is not None:
            return tally_of(table)
        notes = FileNotes(skip_bad=skip_bad)
        tally = tally_samples(found, verifier, by=by, notes=notes, warn=progress.warn)
        notes.tell(progress)
        return tally
    if isinstance(samples, Evaluation):
        return tally_of(samples.samples)
    if hasattr(samples, "column_names"):
        return _tally_of_table(samples, by)
    problem_ids, outcomes = samples
    names = [""] * len(problem_ids) if benchmarks is None else benchmarks
    if not len(problem_ids) == len(outcomes) == len(names):
        raise UserError(
            f"score: {len(problem_ids)} problem ids, {len(outcomes)} outcomes, {len(names)} benchmarks; give one of "
            "each per sample."
        )
    tallier = Tallier()
    for problem_id, outcome, benchmark in zip(problem_ids, outcomes, names, strict=True):
        judgement = outcome if isinstance(outcome, Judgement) else None
        tallier.add(
            str(problem_id),
            _correct(outcome),
            benchmark=benchmark,
            answer=judgement and judgement.extracted,
            readable=not of_unreadable_gold(
                judgement.verdict if judgement else outcome if isinstance(outcome, Verdict) else None,
                judgement.reason if judgement else None,
            ),
        )
        if not isinstance(outcome, Judgement):
            tallier.answers_unknown()
    return tallier.tally()


def _tally_of_table(table: Any, by: str) -> Tally:
    missing = [name for name in ("problem_id", "correct") if name not in table.column_names]
    if missing:
        raise UserError(f"the table has no column {missing[0]!r} (columns: {', '.join(table.column_names)}).")
    check_by(by, dict.fromkeys(table.column_names), "the table")
    if {"extracted", "benchmark", "gold", "verdict", "reason"} <= set(table.column_names) and by == "benchmark":
        return tally_of(table)
    names = table[by].to_pylist() if by in table.column_names else None
    return tally_of_source(
        (table["problem_id"].to_pylist(), table["correct"].to_pylist()),
        make_math_verifier(verify_settings()),
        None if names is None else [str(name) for name in names],
        by,
        Silent(),
    )


def _correct(outcome: Outcome) -> bool | None:
    verdict = outcome.verdict if isinstance(outcome, Judgement) else outcome
    if isinstance(verdict, Verdict):
        return verdict.correct
    if verdict is None:
        return None
    if verdict in (0, 1):
        return bool(verdict)
    raise UserError(f"score: an outcome is {outcome!r}; it must be true, false, 1, 0, None, a verdict or a judgement.")
