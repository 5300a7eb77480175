"""Several problems under one name: found by what their samples say of them, before they are counted as one."""

from collections.abc import Callable, Mapping
from typing import Any

from unsqueeze.errors import UserError
from unsqueeze.evaluation.votes import as_vote
from unsqueeze.interop.sample_files import Record
from unsqueeze.metrics.tally import Key
from unsqueeze.verify.math_verifier import MathVerifier
from unsqueeze.verify.verdict import Verdict
from unsqueeze.wording import counted, verb

BENCHMARK_FIELDS = ("benchmark", "task", "dataset", "data_source", "subset")
"""Fields that tell benchmarks apart in files of one kind or another."""
PROMPT_FIELDS = ("prompt", "problem", "question")
COLUMNS = (*BENCHMARK_FIELDS, *PROMPT_FIELDS)


class Identities:
    """What the first sample of every problem said of it, held against what the others say.

    Memory grows with the problems, not with the samples. ``by`` is the field that benchmarks are told apart by.
    """

    def __init__(self, by: str) -> None:
        self._by = by
        self._first: dict[Key, tuple[str, dict[str, int]]] = {}
        self._golds: dict[Key, tuple[str, str]] = {}
        self._other_golds: dict[tuple[Key, str], str] = {}
        self._other_prompts: dict[Key, tuple[str, str]] = {}

    def add(self, key: Key, record: Record, gold: str | None) -> None:
        """Take a sample in. UserError where another of its problem is of another benchmark by a field like ``task``."""
        said = {name: _mark(record.fields[name]) for name in COLUMNS if record.fields.get(name) is not None}
        where, before = self._first.setdefault(key, (record.where, said))
        for name, mark in said.items():
            if before.get(name, mark) == mark:
                continue
            if name in PROMPT_FIELDS:
                self._other_prompts.setdefault(key, (where, record.where))
                continue
            raise UserError(
                f"{_named(key)} has one {name!r} in {where} and another, {_shown(record.fields[name])}, in "
                f"{record.where}: these are two problems of one name. Tell benchmarks apart by that field (--by "
                f"{name}; in Python by={name!r}), or name the problems differently."
            )
        if gold is not None:
            first, _ = self._golds.setdefault(key, (gold, record.where))
            if as_vote(gold) != as_vote(first):
                self._other_golds.setdefault((key, gold), record.where)

    def check(self, verifier: MathVerifier, warn: Callable[[str], None]) -> None:
        """UserError for a problem with two gold answers that are not equal; a warning of those with several prompts."""
        pairs = [(key, *self._golds[key], gold, where) for (key, gold), where in self._other_golds.items()]
        golds, others = [first for _, first, *_ in pairs], [f"\\boxed{{{gold}}}" for *_, gold, _ in pairs]
        for pair, judgement in zip(pairs, verifier.verify_answers(golds, others) if pairs else [], strict=True):
            if judgement.verdict is not Verdict.CORRECT:
                key, first, first_where, gold, where = pair
                raise UserError(
                    f"{_named(key)} has the gold answer {_shown(first)} in {first_where} and {_shown(gold)} in "
                    f"{where}: these are two problems of one name. Name the field that tells benchmarks apart (--by "
                    f"FIELD; in Python by=), or name the problems differently."
                )
        if self._other_prompts:
            key, (first_where, where) = next(iter(self._other_prompts.items()))
            count = len(self._other_prompts)
            warn(
                f"{counted(count, 'problem', 'is', 'are')} asked with several prompts, and counted as "
                f"{verb(count, 'one', 'one each')}: "
                f"{_named(key)} with one in {first_where} and another in {where}. Where these are problems of several "
                f"benchmarks, name the field that tells them apart (--by FIELD; in Python by=)."
            )


def check_by(by: str, fields: Mapping[str, Any], where: str) -> None:
    """UserError if samples are to be told apart by a field that none of them has; ``benchmark`` need not be there."""
    if by != "benchmark" and by not in fields:
        raise UserError(
            f"{where}: no sample has the field {by!r} that benchmarks are to be told apart by (--by; in Python by=); "
            f"fields there: {', '.join(map(str, fields)) or 'none'}."
        )


def _mark(value: Any) -> int:
    """A few bytes for a value, however long it is."""
    return hash(value if isinstance(value, str) else repr(value))


def _named(key: Key) -> str:
    benchmark, problem_id = key
    return f"problem {problem_id!r}{f' of {benchmark}' if benchmark else ''}"


def _shown(value: Any) -> str:
    return repr(value if len(str(value)) <= 80 else f"{str(value)[:80]}…")
