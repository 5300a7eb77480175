"""Drawing the samples that an evaluation lacks: judged and on the disk as they come, none drawn twice."""

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from operator import itemgetter
from typing import Protocol, Self

from unsqueeze.errors import Interrupted, LostProcessError, UnsqueezeError
from unsqueeze.evaluation.calls import ROWS_A_CALL, Call, blocks, eval_seed, have_of
from unsqueeze.evaluation.questions import Asked
from unsqueeze.rollout.served import Ask, ServedModel
from unsqueeze.rollout.types import Answer, Completion, Engine, takes_on_ended
from unsqueeze.seeds import derive_seed
from unsqueeze.store.samples import EvalSample, Samples
from unsqueeze.verify.verdict import Judgement, abandoning, judges_beside

STORED_AFTER_S = 5.0
"""What was taken waits at most about so long to be judged and written, and for what is judged before it."""


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
    """Bring every problem of a benchmark to ``n`` judged samples on the disk, in blocks.

    ``max_rows`` are those that the engine decodes side by side: a call has as many, or more of a verifier that judges
    beside the drawing.
    """
    rows_a_call = max_rows * (ROWS_A_CALL if judges_beside(asked.verifier) else 1)
    ids = [problem.id for problem in asked.benchmark.problems]
    have = have_of(ids, samples.keys(asked.benchmark.name))
    calls = blocks(have, n, rows_a_call, eval_seed(seed, asked.benchmark.name, ids))
    draw(samples, engine, asked, calls, on_finished=on_finished, check_stop=check_stop, in_parts=True)


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
    in_parts: bool = False,
) -> None:
    """Make the calls, and judge and store what they give.

    ``in_parts``: a problem's samples of a call are taken as soon as all of them have ended, and not with the whole
    call, where the engine tells and the verifier judges beside it. After an interruption batches then have other
    shapes, which round otherwise.

    ``check_stop`` may raise between calls, or parts: what was taken until then is judged and stored first. Where
    several processes draw together, ``agree`` tells all of them whether one of them says yes: they judge and store as
    one.
    """
    tells = in_parts and takes_on_ended(engine) and judges_beside(asked.verifier)
    with Storing(sink, asked, on_judged, agree) as storing:
        for call in calls:
            check_stop()
            parts = Parts(call, storing, check_stop)
            parts.finish(
                engine.generate(
                    [asked.prompts[place] for place in call.places],
                    call.count,
                    asked.sampling,
                    seeds=call.seeds,
                    on_finished=on_finished,
                    **({"on_ended": parts.take} if tells else {}),
                )
            )


class Parts:
    """The samples of a call as they end; those of a problem go on to be judged and stored when it has all of them."""

    def __init__(self, call: Call, storing: "Storing", check_stop: Callable[[], None]) -> None:
        self._call = call
        self._storing = storing
        self._check_stop = check_stop
        self._drawn: list[dict[int, Completion]] = [{} for _ in call.places]
        self._is_taken = [False] * len(call.places)

    def take(self, ended: Sequence[tuple[int, Completion]]) -> None:
        """Take samples, each with its place in the call, those of the first problem first. May raise."""
        if self._take(ended):
            self._storing.flush_when_due()
            self._check_stop()

    def finish(self, groups: Sequence[Sequence[Completion]]) -> None:
        """Take of a whole call what was not taken before."""
        count = self._call.count
        left = (place for place, is_taken in enumerate(self._is_taken) if not is_taken)
        if self._take([(place * count + index, one) for place in left for index, one in enumerate(groups[place])]):
            self._storing.flush_when_due()

    def _take(self, ended: Sequence[tuple[int, Completion]]) -> bool:
        """Hand the problems over that have all their samples, and tell whether there are any."""
        call = self._call
        has_complete = False
        for number, completion in ended:
            place, index = divmod(number, call.count)
            self._drawn[place][index] = completion
            if len(self._drawn[place]) == call.count:
                drawn, self._drawn[place] = self._drawn[place], {}
                self._storing.take((call.places[place], call.starts[place] + i, one) for i, one in drawn.items())
                self._is_taken[place] = has_complete = True
        return has_complete


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
            storing.flush_when_due()
            report(1)
            check_stop()


class Storing:
    """Judges what it takes and puts it on the disk: at once where drawing is slow, else every few seconds.

    A part costs milliseconds however small it is, as long as a quick model takes for its samples. A verifier that
    ``judges_beside`` does so in a thread, which stores too, while further samples are drawn. A wish to stop, or an
    error, ends with all that was taken judged and stored; of several processes (``agree``) only where all of them know
    of the end, since they judge together. A second Ctrl-C, KeyboardInterrupt, abandons that.
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
        beside = agree is None and judges_beside(asked.verifier)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="judging") if beside else None
        self._work: Future[Sequence[EvalSample]] | None = None

    def take(self, drawn: Iterable[tuple[int, int, Completion | Answer]]) -> None:
        """Take samples in any order: the place of the problem of each, its index, and the sample."""
        self._waiting += drawn

    def flush_when_due(self) -> None:
        """Judge and store what waits if it is time. Raises what went wrong with what was judged before."""
        if self._work is not None and self._work.done():
            self._finish_work()
        due = time.monotonic() - self._last >= STORED_AFTER_S
        if due if self._agree is None else self._agree(due):
            self.flush()

    def flush(self) -> None:
        """Judge and store what waits; beside the drawing, unless what was judged last is still at it."""
        if self._work is not None:
            return
        if self._thread is None:
            self._store_waiting()
        else:
            self._work = self._thread.submit(self._store, self._taken())
        self._last = time.monotonic()

    def finish(self) -> None:
        """Judge and store all that waits."""
        try:
            if self._work is not None:
                self._finish_work()
        except Exception:
            self._store_waiting()
            raise
        self._store_waiting()

    def _store_waiting(self) -> None:
        """Judge and store what waits in this thread."""
        self._tell(self._store(self._taken()))

    def _taken(self) -> list[tuple[int, int, Completion | Answer]]:
        drawn, self._waiting = sorted(self._waiting, key=itemgetter(0, 1)), []
        return drawn

    def _store(self, drawn: Sequence[tuple[int, int, Completion | Answer]]) -> Sequence[EvalSample]:
        """Judge samples and put them on the disk."""
        if not drawn:
            return []
        problems = [self._asked.benchmark.problems[place] for place, _, _ in drawn]
        judgements = self._asked.verifier.verify(problems, [one.text for _, _, one in drawn])
        judged = [
            eval_sample(self._asked, place, index, one, judgement)
            for (place, index, one), judgement in zip(drawn, judgements, strict=True)
        ]
        self._sink.add(judged)
        return judged

    def _finish_work(self) -> None:
        assert self._work is not None
        work, self._work = self._work, None
        self._tell(work.result())

    def _tell(self, judged: Sequence[EvalSample]) -> None:
        if judged and self._on_judged is not None:
            self._on_judged(judged)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        at_once = kind is not None and not issubclass(kind, Exception)
        try:
            if not at_once and (self._agree is None or kind is None or _known_to_all(kind)):
                self.finish()
        except KeyboardInterrupt:
            at_once = True
            raise
        finally:
            if self._thread is not None:
                with abandoning(self._asked.verifier) if at_once else nullcontext():
                    self._thread.shutdown()


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
