"""Drawing the samples that an evaluation lacks: judged and on the disk as they come, none drawn twice."""

import time
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Protocol, Self

from unsqueeze.errors import Interrupted, LostProcessError, UnsqueezeError
from unsqueeze.evaluation.calls import BLOCK, Call, blocks, eval_seed, have_of
from unsqueeze.evaluation.questions import Asked
from unsqueeze.rollout.served import Ask, ServedModel
from unsqueeze.rollout.types import Answer, Completion, Engine
from unsqueeze.seeds import derive_seed
from unsqueeze.store.samples import EvalSample, Samples
from unsqueeze.verify.verdict import Judgement

STORED_AFTER_S = 5.0
"""A sample waits at most about so long, and one call of the engine, to be judged and for its part to be written."""


class Sink(Protocol):
    """Destination of judged samples; they are on the disk when ``add`` returns."""

    def add(self, samples: Sequence[EvalSample]) -> None: ...


def missing_of(samples: Samples, asked: Asked, n: int) -> list[tuple[int, int]]:
    """Return the place of the problem and the index of every lacking sample, first all of index 0, then all of 1, …"""
    seen = samples.keys(asked.benchmark.name)
    return [
        (place, index)
        for index in range(n)
        for place, problem in enumerate(asked.benchmark.problems)
        if (problem.id, index) not in seen
    ]


def num_missing(samples: Samples, asked: Sequence[Asked], n: int) -> int:
    """Count the samples to be drawn to bring every problem to ``n``."""
    return sum(len(missing_of(samples, each, n)) for each in asked)


def draw_missing(
    samples: Samples,
    engine: Engine,
    asked: Asked,
    n: int,
    *,
    seed: int,
    max_rows: int,
    on_finished: Callable[[int], None] | None = None,
    check_stop: Callable[[], None] = lambda: None,
) -> None:
    """Bring every problem of a benchmark to ``n`` judged samples on the disk, in blocks."""
    ids = [problem.id for problem in asked.benchmark.problems]
    have = have_of(ids, samples.keys(asked.benchmark.name))
    calls = blocks(have, n, max(1, max_rows // BLOCK), eval_seed(seed, asked.benchmark.name, ids))
    draw(samples, engine, asked, calls, on_finished=on_finished, check_stop=check_stop)


def draw(
    sink: Sink,
    engine: Engine,
    asked: Asked,
    calls: Iterable[Call],
    *,
    on_finished: Callable[[int], None] | None = None,
    on_judged: Callable[[Sequence[EvalSample]], None] | None = None,
    check_stop: Callable[[], None] = lambda: None,
    agree: Callable[[bool], bool] | None = None,
) -> None:
    """Make the calls, and judge and store what they give.

    ``check_stop`` may raise between calls: what was drawn until then is judged and stored first. Where several
    processes draw together, ``agree`` tells all of them whether one of them says yes: they judge and store as one.
    """
    with Storing(sink, asked, on_judged, agree) as storing:
        for call in calls:
            check_stop()
            groups = engine.generate(
                [asked.prompts[place] for place in call.places],
                call.count,
                asked.sampling,
                seeds=call.seeds,
                on_finished=on_finished,
            )
            storing.take(
                (place, call.start + number, completion)
                for place, completions in zip(call.places, groups, strict=True)
                for number, completion in enumerate(completions)
            )


def draw_missing_served(
    samples: Samples,
    served: ServedModel,
    asked: Asked,
    n: int,
    *,
    seed: int,
    on_finished: Callable[[int], None] | None = None,
    check_stop: Callable[[], None] = lambda: None,
) -> None:
    """Bring every problem of a benchmark to ``n`` judged samples on the disk, from a server: many at a time.

    A sample's seed comes from its problem and its index alone. Whatever ends the drawing (a request to stop, a server
    that fails), every answer that had come in is stored.
    """
    problems = asked.benchmark.problems
    missing = missing_of(samples, asked, n)
    asks = [
        Ask(asked.prompts[place], derive_seed(seed, "eval", asked.benchmark.name, problems[place].id, index))
        for place, index in missing
    ]
    report = on_finished or (lambda count: None)
    with Storing(samples, asked) as storing:

        def tick() -> None:
            check_stop()
            storing.flush_when_due()
            report(0)

        for number, answer in served.answers(asks, asked.sampling, on_tick=tick):
            place, index = missing[number]
            storing.take([(place, index, answer)])
            report(1)
            check_stop()


class Storing:
    """Judges what was drawn and puts it on the disk: at once where drawing is slow, else every few seconds.

    A part costs milliseconds however small it is, as long as a quick model takes for its samples. Whatever ends the
    drawing, all that was drawn is judged and stored; of several processes (``agree``) only where all of them know of
    the end, since they judge together.
    """

    def __init__(
        self,
        sink: Sink,
        asked: Asked,
        on_judged: Callable[[Sequence[EvalSample]], None] | None = None,
        agree: Callable[[bool], bool] | None = None,
    ) -> None:
        self._sink = sink
        self._asked = asked
        self._on_judged = on_judged
        self._agree = agree
        self._waiting: list[tuple[int, int, Completion | Answer]] = []
        self._last = time.monotonic()

    def take(self, drawn: Iterable[tuple[int, int, Completion | Answer]]) -> None:
        """Take samples in any order: the place of the problem of each, its index, and the sample."""
        self._waiting += drawn
        self.flush_when_due()

    def flush_when_due(self) -> None:
        due = time.monotonic() - self._last >= STORED_AFTER_S
        if due if self._agree is None else self._agree(due):
            self.flush()

    def flush(self) -> None:
        """Judge and store what waits."""
        drawn, self._waiting = sorted(self._waiting, key=itemgetter(0, 1)), []
        if drawn:
            problems = [self._asked.benchmark.problems[place] for place, _, _ in drawn]
            judgements = self._asked.verifier.verify(problems, [one.text for _, _, one in drawn])
            judged = [
                eval_sample(self._asked, place, index, one, judgement)
                for (place, index, one), judgement in zip(drawn, judgements, strict=True)
            ]
            self._sink.add(judged)
            if self._on_judged is not None:
                self._on_judged(judged)
        self._last = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if self._agree is None or kind is None or _known_to_all(kind):
            self.flush()


def _known_to_all(kind: type[BaseException]) -> bool:
    """Tell whether an error in one of several processes is raised in all of them (``Processes.agreeing``)."""
    return issubclass(kind, UnsqueezeError | Interrupted) and not issubclass(kind, LostProcessError)


def eval_sample(
    asked: Asked, place: int, index: int, completion: Completion | Answer, judgement: Judgement
) -> EvalSample:
    """Return one judged answer as it is stored."""
    problem = asked.benchmark.problems[place]
    return EvalSample(
        benchmark=asked.benchmark.name,
        problem_id=problem.id,
        index=index,
        text=completion.text,
        verdict=judgement.verdict,
        extracted=judgement.extracted,
        reason=judgement.reason,
        num_tokens=completion.num_tokens,
        mean_logp=completion.mean_logp,
        stop_reason=completion.stop_reason,
        gold=problem.answer,
        verifier=asked.verifier_name,
    )


def rejudge(samples: Samples, asked: Asked) -> int:
    """Judge again, without sampling, what another verifier has judged; returns how many samples."""
    problems = {problem.id: problem for problem in asked.benchmark.problems}

    def judged(problem_ids: list[str], texts: list[str]) -> list[Judgement]:
        return asked.verifier.verify([problems[problem_id] for problem_id in problem_ids], texts)

    return samples.rejudge(asked.benchmark.name, list(problems), asked.verifier_name, judged)
