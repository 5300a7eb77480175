"""Math-Verify as a verifier: cheap text work here, everything symbolic in workers that can be killed."""

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from importlib import metadata
from types import TracebackType
from typing import Self

from unsqueeze.config.rollout_settings import VerifySettings
from unsqueeze.errors import UserError
from unsqueeze.tasks.problem import Problem
from unsqueeze.verify.bare import bare_answer
from unsqueeze.verify.exact import exact_number
from unsqueeze.verify.extract import (
    Credit,
    after_thinking,
    boxes_at_end,
    check_credit,
    concluding_boxes,
    conclusive_box,
    first_turn,
    one_spelling,
    tagged_answer,
    without_earlier_boxes,
)
from unsqueeze.verify.gold import Gold, read_gold
from unsqueeze.verify.job import Grade, Job
from unsqueeze.verify.normalise import plain_characters, spaced_ideographs
from unsqueeze.verify.pool import WorkerPool
from unsqueeze.verify.stating import alternatives, ends_open, says_no_answer
from unsqueeze.verify.textual import (
    equal_or_not,
    judged_as_text,
    judged_without_answer,
    spelled_number,
)
from unsqueeze.verify.verdict import Judgement, Verdict

_DEFAULTS = VerifySettings()
_ANY_ANSWER = r"\boxed{-7919}"
_MAX_CACHED_CHARACTERS = 1000
# Counted up whenever the rules of docs/verify.md change a verdict: verdicts that were kept under another name are old.
_RULES = 3


@dataclass(frozen=True, slots=True)
class _Grading:
    """Plan of how one response is graded. ``whole`` is what to read where ``job`` finds no mathematics in the box."""

    job: Job
    answer: str | None = None
    whole: Job | None = None


class MathVerifier:
    r"""Judges answers against gold answers as Math-Verify does, and cannot hang.

    ``credit`` says where an answer may stand: ``boxed``, the last ``\boxed{}`` only; ``final_answer``, a box or a
    phrase that announces the answer; ``anywhere``, wherever Math-Verify finds one, and a bare short answer as a whole.
    Every answer that needs Math-Verify has ``timeout_s`` of wall time and ``memory_mb`` of address space in one of
    ``workers`` processes; equal pairs of gold and answer are judged once (of the last ``cache_size``).

    Threads may share a verifier; they take turns. Workers load when ``start`` is called, or with the first answer that
    needs them. Close it, or use it as a context manager; a verifier that is garbage, or whose process ends, takes its
    workers along.
    """

    def __init__(
        self,
        workers: int = _DEFAULTS.workers,
        timeout_s: float = _DEFAULTS.timeout_s,
        memory_mb: int = _DEFAULTS.memory_mb,
        credit: Credit = _DEFAULTS.credit,
        cache_size: int = 32_768,
    ) -> None:
        self._credit = check_credit(credit)
        self._pool = WorkerPool(workers=workers, timeout_s=timeout_s, memory_mb=memory_mb)
        self._cache: OrderedDict[Job, Grade] = OrderedDict()
        self._cache_size = cache_size
        self._lock = threading.Lock()
        self._owner = os.getpid()
        self._finalizer = weakref.finalize(self, _close_if_owner, self._pool, self._owner)

    judges_beside = True
    """It may be called in a thread while something else is computed: workers do what takes time."""

    @property
    def name(self) -> str:
        """The grader and what else verdicts depend on."""
        return f"math-verify {metadata.version('math-verify')}, rules {_RULES}, credit {self._credit}"

    def start(self) -> None:
        """Load Math-Verify in the background, while something else is done."""
        self._pool.start()

    def verify(self, problems: Sequence[Problem], responses: Sequence[str]) -> list[Judgement]:
        """The ``Verifier`` protocol."""
        return self.verify_answers([problem.answer for problem in problems], responses)

    def verify_answers(
        self,
        golds: Sequence[str],
        responses: Sequence[str],
        *,
        on_finished: Callable[[int], None] | None = None,
    ) -> list[Judgement]:
        """One judgement per pair, in order. ``on_finished`` is told how many more are done. Raises RunError."""
        if len(golds) != len(responses):
            raise UserError(f"verify: {len(golds)} gold answers for {len(responses)} responses; give one each.")
        with self._lock:
            self._leave_to_original_after_fork()
            judgements: list[Judgement | None] = [None] * len(golds)
            gradings: dict[int, _Grading] = {}
            for index, (gold, response) in enumerate(zip(golds, responses, strict=True)):
                settled = self._settle(gold, response)
                if isinstance(settled, Judgement):
                    judgements[index] = settled
                else:
                    gradings[index] = settled
            if on_finished:
                on_finished(len(golds) - len(gradings))
            self._grade(gradings, judgements, on_finished)
        return [judgement for judgement in judgements if judgement is not None]

    def unreadable_golds(self, golds: Sequence[str]) -> list[int]:
        """The places of the gold answers that no answer can be judged against, or none in digits."""
        asked = [gold for gold in dict.fromkeys(golds) if read_gold(gold).number is None]
        judgements = self.verify_answers(asked, [_ANY_ANSWER] * len(asked))
        unreadable = {
            g for g, judgement in zip(asked, judgements, strict=True) if judgement.verdict is Verdict.UNREADABLE_GOLD
        }
        return [place for place, gold in enumerate(golds) if gold in unreadable]

    def abandoning(self) -> AbstractContextManager[None]:
        """For the duration, whatever is judged in another thread ends at once with RunError."""
        return self._pool.abandoning()

    def close(self) -> None:
        self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _settle(self, gold: str, response: str) -> Judgement | _Grading:
        """The judgement, where text and exact numbers are enough; otherwise what to ask of a worker."""
        reference = read_gold(gold)
        answer = after_thinking(response)
        if answer is None:
            return judged_without_answer(reference, "the response ends while thinking")
        text = one_spelling(first_turn(answer))
        if self._credit != "boxed":
            text = tagged_answer(text)
        if reference.is_textual:
            settled = judged_as_text(reference, gold, text, self._credit)
            if settled is not None:
                return settled
        grading = self._grading_of(reference, text)
        if isinstance(grading, Judgement):
            return grading
        answer = grading.answer
        if answer is None:
            return grading
        if reference.choice is not None and reference.choice.value is None:
            grading = replace(grading, whole=None)  # a letter somewhere in the text is no answer
        given = exact_number(answer)
        if given is None and (spelled := spelled_number(answer)) is not None:
            if reference.number is None:
                return _Grading(Job(reference.formula, f"${spelled}$", "anywhere"), answer)
            given = spelled
        if given is None or reference.number is None:
            return grading
        return equal_or_not(given == reference.number, answer, "number")

    def _grading_of(self, reference: Gold, response: str) -> Judgement | _Grading:
        if self._credit == "boxed":
            boxed = boxes_at_end(response)
            if boxed is None or not boxed.content:
                return Judgement(
                    Verdict.UNPARSABLE, None, _why_no_box(response, None if boxed is None else boxed.content)
                )
            return _Grading(Job(reference.formula, f"\\boxed{{{boxed.content}}}", "box"), boxed.content)
        text = spaced_ideographs(plain_characters(without_earlier_boxes(response)))
        if _never_closed(response):
            return Judgement(Verdict.UNPARSABLE, None, "the last \\boxed{ is never closed")
        whole = Job(reference.formula, text, self._credit)
        content = conclusive_box(response)
        if content is None and (boxes := concluding_boxes(response)):
            content = boxes.content
        if content is not None:
            return _Grading(Job(reference.formula, f"\\boxed{{{content}}}", "box"), content, whole)
        bare = bare_answer(response) if self._credit == "anywhere" and not ends_open(response) else None
        if bare is not None:
            return _Grading(Job(reference.formula, bare, "anywhere"), bare[1:-1], whole)
        several = alternatives(response) if self._credit == "anywhere" else None
        if several is not None:
            return _Grading(Job(reference.formula, f"${several}$", "anywhere"), several)
        if self._credit == "anywhere" and says_no_answer(response):
            return Judgement(Verdict.UNPARSABLE, None, "the response gives no answer, or several")
        return _Grading(whole)

    def _grade(
        self,
        gradings: dict[int, _Grading],
        judgements: list[Judgement | None],
        on_finished: Callable[[int], None] | None,
    ) -> None:
        """Judge what is to be graded; where a box turned out not to be mathematics, judge the whole response next."""
        grades = self._grade_jobs([grading.job for grading in gradings.values()])
        again: dict[int, _Grading] = {}
        for index, grading in gradings.items():
            grade = grades[grading.job]
            unread = Verdict(grade.verdict).judged and not grade.parsed and grade.verdict != Verdict.CORRECT
            if grading.whole is not None and unread:
                again[index] = _Grading(grading.whole)
            else:
                extracted = grade.extracted if grading.answer is None else grading.answer
                judgements[index] = Judgement(Verdict(grade.verdict), extracted, grade.reason)
        if again:
            self._grade(again, judgements, None)
        if on_finished:
            on_finished(len(gradings))

    def _grade_jobs(self, jobs: Sequence[Job]) -> dict[Job, Grade]:
        """The grade of every distinct job, from memory or from a worker."""
        grades: dict[Job, Grade] = {}
        unknown: list[Job] = []
        for job in dict.fromkeys(jobs):
            known = self._cache.get(job)
            if known is None:
                unknown.append(job)
            else:
                self._cache.move_to_end(job)
                grades[job] = known
        for job, grade in zip(unknown, self._pool.run(unknown), strict=True):
            grades[job] = grade
            if grade.verdict != Verdict.CRASHED and len(job.text) <= _MAX_CACHED_CHARACTERS:
                self._cache[job] = grade
        while len(self._cache) > self._cache_size:
            self._cache.popitem(last=False)
        return grades

    def _leave_to_original_after_fork(self) -> None:
        if os.getpid() != self._owner:
            self._pool.forget()
            self._owner = os.getpid()
            self._finalizer.detach()
            self._finalizer = weakref.finalize(self, _close_if_owner, self._pool, self._owner)


def make_math_verifier(settings: VerifySettings) -> MathVerifier:
    """Return a verifier of these settings, its workers not yet started."""
    return MathVerifier(settings.workers, settings.timeout_s, settings.memory_mb, settings.credit)


def _close_if_owner(pool: WorkerPool, owner: int) -> None:
    if os.getpid() == owner:
        pool.close()


def _never_closed(response: str) -> bool:
    return "\\boxed{" in response and boxes_at_end(response) is None


def _why_no_box(response: str, content: str | None) -> str:
    if content == "":
        return "the last \\boxed{} is empty"
    if "\\boxed{" in response:
        return "the last \\boxed{ is never closed"
    return "no \\boxed{} in the response"
