"""Samples of an evaluation are stored by problems as they end, and judged while others are drawn."""

import _thread
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from judges import SOON_S, Abandonable, EqualText, completion
from unsqueeze.errors import Interrupted, RunError
from unsqueeze.evaluation import draw
from unsqueeze.evaluation.calls import Call
from unsqueeze.evaluation.draw import Storing, draw_missing
from unsqueeze.evaluation.questions import Asked
from unsqueeze.rollout.types import Completion, Sampling
from unsqueeze.store.samples import EvalSample, Samples
from unsqueeze.tasks.problem import Problem

PROBLEMS = tuple(Problem(id=f"p{i}", prompt="?", answer="1", task="t") for i in range(4))
N = 4


class Turns:
    """An engine that ends one response of every prompt, then the next of every prompt: problems end together, last.

    ``text_of`` says a response by the number of its prompt and its own. ``meanwhile`` is called when all but the last
    problem have ended, and ``prompts_asked`` says how many prompts each call had.
    """

    policy_version = None

    def __init__(
        self,
        text_of: Callable[[int, int], str] = lambda prompt, index: "1",
        meanwhile: Callable[[], None] = lambda: None,
    ) -> None:
        self._text_of = text_of
        self._meanwhile = meanwhile
        self.prompts_asked: list[int] = []

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        n: int,
        sampling: Sampling,
        *,
        seeds: Sequence[int],
        on_finished: Callable[[int], None] | None = None,
        on_ended: Callable[[Sequence[tuple[int, Completion]]], None] | None = None,
    ) -> list[list[Completion]]:
        self.prompts_asked.append(len(prompts))
        drawn = [[completion(self._text_of(prompt[0], index)) for index in range(n)] for prompt in prompts]
        for index in range(n):
            for place in range(len(prompts)):
                if (index, place) == (n - 1, len(prompts) - 1):
                    self._meanwhile()
                if on_ended is not None:
                    on_ended([(place * n + index, drawn[place][index])])
        return drawn


def asked_by(verifier: EqualText) -> Asked:
    return Asked(
        benchmark=SimpleNamespace(name="b", problems=PROBLEMS),  # type: ignore[arg-type]
        prompts=[[place] for place in range(len(PROBLEMS))],
        sampling=Sampling(max_tokens=4),
        verifier=verifier,
        verifier_name="equal",
    )


def store_in(folder: Path) -> Samples:
    return Samples(folder / "samples.parquet", folder / "parts")


def draw_all(samples: Samples, engine: Any, verifier: EqualText, check_stop: Callable[[], None] = lambda: None) -> None:
    draw_missing(samples, engine, asked_by(verifier), N, seed=0, max_rows=64, check_stop=check_stop)


def keys_of(samples: Samples) -> list[tuple[str, int]]:
    return sorted(samples.keys("b"))


def test_a_stop_inside_a_call_keeps_the_problems_that_had_ended(tmp_path: Path):
    asked = 0

    def check_stop() -> None:
        nonlocal asked
        asked += 1
        if asked == 3:  # before the call, after the first problem, after the second
            raise Interrupted

    engine = Turns()
    with pytest.raises(Interrupted):
        draw_all(store_in(tmp_path), engine, EqualText(), check_stop)
    samples = store_in(tmp_path)
    assert keys_of(samples) == [(f"p{i}", index) for i in (0, 1) for index in range(N)]
    draw_all(samples, engine, EqualText())
    assert engine.prompts_asked == [4, 2]
    assert keys_of(samples) == [(problem.id, index) for problem in PROBLEMS for index in range(N)]


@pytest.mark.parametrize("judges_beside", [True, False])
def test_every_sample_is_judged_and_stored_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, judges_beside: bool):
    monkeypatch.setattr(draw, "STORED_AFTER_S", 0.0)
    samples, verifier = store_in(tmp_path), EqualText(judges_beside=judges_beside)
    draw_all(samples, Turns(lambda prompt, index: str(int(index < prompt))), verifier)
    assert sum(len(texts) for _, texts in verifier.asked) == len(PROBLEMS) * N
    rows = samples.merge({"b": [problem.id for problem in PROBLEMS]}).to_pylist()
    assert [(row["problem_id"], row["index"]) for row in rows] == [(p.id, i) for p in PROBLEMS for i in range(N)]
    # Problem p has p right answers, its first.
    assert [row["correct"] for row in rows] == [index < place for place in range(4) for index in range(N)]


def test_judging_and_storing_go_on_beside_the_drawing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(draw, "STORED_AFTER_S", 0.0)
    verifier = EqualText()

    def wait() -> None:
        assert verifier.has_judged.wait(SOON_S), "nothing was judged while the last response was drawn"

    draw_all(store_in(tmp_path), Turns(meanwhile=wait), verifier)
    assert verifier.asked[0][0].startswith("judging")


def test_a_verifier_that_does_not_judge_beside_is_asked_in_the_thread_that_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(draw, "STORED_AFTER_S", 0.0)
    verifier = EqualText(judges_beside=False)
    draw_all(store_in(tmp_path), Turns(), verifier)
    # And not inside a call of the engine, whose settings of PyTorch it would have.
    assert verifier.asked == [(threading.current_thread().name, ["1"] * N * len(PROBLEMS))]


class AtOnce:
    """In place of the thread: what is given to it is done when it returns."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def submit(self, work: Callable[..., Any], *arguments: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(work(*arguments))
        except RunError as error:
            done.set_exception(error)
        return done

    def shutdown(self) -> None: ...


@pytest.mark.parametrize(("place", "was_at_its_end"), [(0, False), (3, True)])
def test_what_the_verifier_raises_ends_the_drawing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: int, was_at_its_end: bool
):
    monkeypatch.setattr(draw, "STORED_AFTER_S", 0.0)
    monkeypatch.setattr(draw, "ThreadPoolExecutor", AtOnce)
    came_to_the_last = threading.Event()
    engine = Turns(lambda prompt, index: "broken" if prompt == place else "1", came_to_the_last.set)
    with pytest.raises(RunError, match="the verifier broke"):
        draw_all(store_in(tmp_path), engine, EqualText())
    assert came_to_the_last.is_set() == was_at_its_end
    # What was taken besides is judged and stored: the second problem came in before the error of the first was met.
    kept = {0: ["p1"], 3: ["p0", "p1", "p2"]}[place]
    assert keys_of(store_in(tmp_path)) == [(name, index) for name in kept for index in range(N)]


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt, also where a shell has it ignored in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("error", [Interrupted, KeyboardInterrupt])
def test_a_second_ctrl_c_does_not_wait_for_the_judge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
):
    """It comes while the first problem is judged and two wait: after the wish to stop, or in the middle of drawing."""
    monkeypatch.setattr(draw, "STORED_AFTER_S", 0.0)
    finish_work = Storing._finish_work

    def pressed(storing: Storing) -> None:
        _thread.interrupt_main()
        finish_work(storing)

    monkeypatch.setattr(Storing, "_finish_work", pressed)
    verifier = Abandonable()

    def wait() -> None:
        assert verifier.has_judged.wait(SOON_S)
        raise error

    with pytest.raises(KeyboardInterrupt):
        draw_all(store_in(tmp_path), Turns(meanwhile=wait), verifier)
    assert [thread for thread, _ in verifier.asked] == ["judging_0"]
    assert keys_of(store_in(tmp_path)) == []


def test_what_is_judged_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(draw, "STORED_AFTER_S", 0.0)
    told: list[EvalSample] = []
    call = Call((2, 0), (0, 16), 4, (7, 8))
    draw.draw(store_in(tmp_path), Turns(), asked_by(EqualText()), [call], on_judged=told.extend, in_parts=True)
    assert sorted((one.problem_id, one.index) for one in told) == [
        (name, index) for name, first in (("p0", 16), ("p2", 0)) for index in range(first, first + 4)
    ]


@pytest.mark.parametrize("told", [0, 3, 7])
def test_what_an_engine_does_not_tell_is_taken_with_its_call(tmp_path: Path, told: int):
    """Of the first problem alone it tells the first samples, or all, or of the second too."""

    class Quiet(Turns):
        def generate(self, *arguments: Any, on_ended: Any = None, **options: Any) -> list[list[Completion]]:
            groups = super().generate(*arguments, **options)
            on_ended(list(enumerate(chain.from_iterable(groups)))[:told])
            return groups

    samples, verifier = store_in(tmp_path), EqualText()
    draw_all(samples, Quiet(), verifier)
    assert keys_of(samples) == [(problem.id, index) for problem in PROBLEMS for index in range(N)]
    assert sum(len(texts) for _, texts in verifier.asked) == len(PROBLEMS) * N


def test_an_engine_that_cannot_tell_is_stored_by_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(draw, "STORED_AFTER_S", 0.0)

    class Silent(Turns):
        def generate(  # type: ignore[override]
            self, prompts: Any, n: int, sampling: Sampling, *, seeds: Any, on_finished: Any = None
        ) -> list[list[Completion]]:
            return super().generate(prompts, n, sampling, seeds=seeds, on_finished=on_finished)

    samples, verifier = store_in(tmp_path), EqualText()
    draw_all(samples, Silent(), verifier)
    assert [len(texts) for _, texts in verifier.asked] == [len(PROBLEMS) * N]
    assert len(keys_of(samples)) == len(PROBLEMS) * N
