"""Tally files of samples: who solved what, how often."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from unsqueeze.errors import RunError, UserError
from unsqueeze.evaluation.file_notes import FileNotes
from unsqueeze.evaluation.identities import COLUMNS as IDENTITY_COLUMNS
from unsqueeze.evaluation.identities import Identities, check_by
from unsqueeze.evaluation.summarise import TALLIED
from unsqueeze.evaluation.verdict_files import Advance, check_judgeable, chunked
from unsqueeze.evaluation.votes import as_vote
from unsqueeze.interop.read_evalscope import is_review, review_files, sample_of_review
from unsqueeze.interop.read_lighteval import COLUMNS as DETAILS_COLUMNS
from unsqueeze.interop.read_lighteval import details_files, is_details, samples_of_details
from unsqueeze.interop.sample_files import (
    STANDARD,
    OnBad,
    Record,
    gold_field,
    is_judged,
    is_parquet,
    open_parquet,
    prediction_field,
    problem_id_field,
    read_samples,
    stated_outcome,
)
from unsqueeze.metrics.tally import Tallier, Tally
from unsqueeze.store.arms import refuse_arms
from unsqueeze.store.evals import EvalWriter
from unsqueeze.store.samples import SAMPLE_SCHEMA
from unsqueeze.store.table import read_table
from unsqueeze.verify.math_verifier import MathVerifier
from unsqueeze.verify.verdict import of_unreadable_gold

COLUMNS = ("problem_id", "benchmark", "correct", "verdict", "reason", "extracted", "gold", "prediction")
"""The columns of a Parquet file that scoring may need."""


def sample_source(source: str) -> str:
    """The file of samples that a path means: itself, or what the directory of a run or an evaluation holds.

    Of a run, the last complete evaluation. EvalScope's work directory and lighteval's output folder are themselves;
    the files in them are read in turn.
    UserError naming what was looked for where there is none.
    """
    path = Path(source)
    if source == STANDARD or not path.is_dir():
        return source
    if (path / "samples.parquet").is_file():
        return str(path / "samples.parquet")
    if _foreign_files(path):
        return source
    for folder in (path / "evals", path):
        writer = EvalWriter(folder)
        if steps := writer.steps():
            return str(writer.samples_path(steps[-1]))
    refuse_arms(source)
    raise UserError(
        f"{source} holds neither samples.parquet nor a finished evaluation (evals/step-*.parquet with its .json). "
        "Give a sample file, the directory of an evaluation, or the directory of a run."
    )


def tally_samples(
    source: str,
    verifier: MathVerifier,
    *,
    by: str = "benchmark",
    notes: FileNotes | None = None,
    warn: Callable[[str], None] = lambda text: None,
    on_finished: Advance | None = None,
) -> Tally:
    """Count the samples of a file. Each says ``correct``, or ``verdict``, or has ``gold`` and ``prediction`` to judge.

    ``by`` names the field that tells benchmarks apart; ``benchmark`` need not be there. UserError naming the line of a
    sample that has none of the three, unless ``notes``, which take down what is to be said of the file, are to leave it
    out; and where several problems have one name (``evaluation.identities``).
    """
    tallier, identities, fields = Tallier(), Identities(by), dict[str, None]()
    notes = notes or FileNotes()
    found = _records(source, tuple(dict.fromkeys((*COLUMNS, *IDENTITY_COLUMNS, by))), notes.on_bad)
    records = notes.usable(found, partial(_check_sample, by=by))
    for chunk in chunked(records, lambda record: len(record.line)):
        for record, outcome in zip(chunk, _outcomes(chunk, verifier, notes), strict=True):
            fields.update(dict.fromkeys(record.fields))
            problem_id, benchmark, gold = problem_id_field(record), _benchmark(record, by), _gold(record)
            identities.add((benchmark, problem_id), record, gold)
            tallier.add(
                problem_id,
                outcome.correct,
                benchmark=benchmark,
                answer=outcome.answer,
                gold=gold,
                readable=outcome.readable,
            )
            if not outcome.known:
                tallier.answers_unknown()
        if on_finished:
            on_finished(len(chunk))
    tally = tallier.tally()
    if not tally.problem_ids and not tally.unreadable:
        raise UserError(f"{source}: no samples. Every line needs problem_id and correct, or gold and prediction.")
    if is_parquet(source):
        with open_parquet(source) as file:
            fields.update(dict.fromkeys(file.schema_arrow.names))
    check_by(by, fields, source)
    identities.check(verifier, warn)
    return tally


def own_samples(source: str) -> pa.Table | None:
    """Return what is counted of a file that an evaluation of ours wrote, judged as it is; None for any other.

    None, too, where a problem has several gold answers there, or a sample no problem, benchmark or gold answer: what
    that means is asked sample by sample.
    """
    if not is_parquet(source):
        return None
    try:
        table = read_table(Path(source), pa.schema([SAMPLE_SCHEMA.field(name) for name in TALLIED]))
    except RunError:
        return None
    golds = table.group_by(["benchmark", "problem_id"]).aggregate([("gold", "count_distinct")])
    is_plain = (
        not any(table[name].null_count for name in ("problem_id", "benchmark", "gold"))
        and set(golds["gold_count_distinct"].to_pylist()) == {1}
        and all(gold.strip() for gold in pc.unique(table["gold"]).to_pylist())
    )
    return table if is_plain else None


def _foreign_files(folder: Path) -> list[Path]:
    """EvalScope's reviews or lighteval's details in a folder of theirs; none where it is neither."""
    return review_files(folder) or details_files(folder)


def _records(source: str, columns: Sequence[str], on_bad: OnBad | None) -> Iterator[Record]:
    """The samples of a file, or of EvalScope's reviews or lighteval's details, as they are or in one file of them."""
    foreign = _foreign_files(Path(source)) if source != STANDARD and Path(source).is_dir() else []
    for file in [str(path) for path in foreign] or [source]:
        for record in read_samples(file, (*columns, *DETAILS_COLUMNS), on_bad):
            if is_details(record):
                yield from samples_of_details(record, Path(file).stem)
            else:
                yield sample_of_review(record, Path(file).stem) if is_review(record) else record


def _benchmark(record: Record, by: str) -> str:
    value = record.fields.get(by)
    if isinstance(value, list | dict):
        raise UserError(f"{record.where}: field {by!r} is a {type(value).__name__}; benchmarks are named by text.")
    return "" if value is None else str(value)


def _gold(record: Record) -> str | None:
    """The gold answer of a sample that has a readable one."""
    try:
        return gold_field(record)
    except UserError:
        return None  # whether one is needed is said where samples are judged


@dataclass(frozen=True, slots=True)
class _Outcome:
    """Outcome of a sample: is it correct (None: not judged), what it answered, whether that is known, and whether the
    gold answer can be read.
    """

    correct: bool | None
    answer: Hashable | None
    known: bool
    readable: bool


def _check_sample(record: Record, by: str) -> None:
    """UserError if a sample does not name its problem, or has neither an outcome nor what to judge."""
    problem_id_field(record)
    _benchmark(record, by)
    if is_judged(record):
        stated_outcome(record)
    elif {"gold", "prediction"} <= set(record.fields):
        check_judgeable(record)
    else:
        found = ", ".join(map(str, record.fields)) or "none"
        raise UserError(
            f"{record.where}: no field 'correct', no 'verdict', and not both 'gold' and 'prediction' "
            f"(fields there: {found})."
        )


def _outcomes(records: list[Record], verifier: MathVerifier, notes: FileNotes) -> Iterator[_Outcome]:
    """Yield the outcome of every sample: as it states it, else as it is judged."""
    unjudged = [record for record in records if not is_judged(record)]
    judged = (
        verifier.verify_answers([gold_field(r) for r in unjudged], [prediction_field(r) for r in unjudged])
        if unjudged
        else []
    )
    notes.note_judgements(unjudged, judged)
    judgements = iter(judged)
    for record in records:
        if is_judged(record):
            fields = record.fields
            readable = not of_unreadable_gold(fields.get("verdict"), fields.get("reason"))
            yield _Outcome(stated_outcome(record), as_vote(fields.get("extracted")), "extracted" in fields, readable)
        else:
            judgement = next(judgements)
            readable = not of_unreadable_gold(judgement.verdict, judgement.reason)
            yield _Outcome(judgement.verdict.correct, as_vote(judgement.extracted), True, readable)
