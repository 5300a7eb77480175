"""A round of rollouts is judged while it is drawn, where engine and verifier allow it, and the same comes of it."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from judges import SOON_S, Abandonable, EqualText, completion
from tiny_models import tiny_llama, tiny_tokenizer
from unsqueeze.errors import Interrupted, RunError
from unsqueeze.rollout.hf import HfEngine
from unsqueeze.rollout.scripted import ScriptedEngine
from unsqueeze.rollout.types import Completion, Sampling
from unsqueeze.tasks.problem import Problem
from unsqueeze.training.judging import RoundJudge
from unsqueeze.verify.math_verifier import MathVerifier
from unsqueeze.verify.verdict import Judgement, Verdict
from unsqueeze.verify.verifiers import Borrowed

PROBLEMS = [Problem(id=f"p{i}", prompt="?", answer=str(i), task="t") for i in range(80)]
TEXTS = [str(i // 2) for i in range(80)]
Ended = Sequence[tuple[int, Completion]]


class Telling:
    """Hands over the first half of the texts, waits until something is judged, and goes on with the second."""

    policy_version = None

    def __init__(self, has_judged: threading.Event, fails: bool = False) -> None:
        self._has_judged = has_judged
        self._fails = fails

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        n: int,
        sampling: Sampling,
        *,
        seeds: Sequence[int],
        on_finished: Callable[[int], None] | None = None,
        on_ended: Callable[[Ended], None] | None = None,
    ) -> list[list[Completion]]:
        drawn = list(enumerate(map(completion, TEXTS)))
        if on_ended is not None:
            on_ended(drawn[40:])
            assert self._has_judged.wait(SOON_S)
            on_ended(drawn[:40])
            if self._fails:
                raise Interrupted
        return [[one for _, one in drawn]]

    def sync(self, policy: Any) -> None: ...

    def rest(self) -> None: ...

    def close(self) -> None: ...


class Silent(Telling):
    def generate(  # type: ignore[override]
        self,
        prompts: Sequence[Sequence[int]],
        n: int,
        sampling: Sampling,
        *,
        seeds: Sequence[int],
        on_finished: Any = None,
    ) -> list[list[Completion]]:
        return [[completion(text) for text in TEXTS]]


def judged(verifier: EqualText, engine: Telling) -> list[Judgement]:
    with RoundJudge(verifier, PROBLEMS) as judge:
        drawn = engine.generate([[1]], 80, Sampling(max_tokens=4), seeds=[0], **judge.told_by(engine))  # type: ignore[arg-type]
        return judge.judgements([one.text for group in drawn for one in group])


def test_what_has_ended_is_judged_while_others_are_drawn() -> None:
    verifier = EqualText()
    found = judged(verifier, Telling(verifier.has_judged))
    assert [one.verdict is Verdict.CORRECT for one in found] == [i == i // 2 for i in range(80)]
    assert verifier.asked[0] == ("judging_0", TEXTS[40:])
    assert sorted(text for _, texts in verifier.asked for text in texts) == sorted(TEXTS)


@pytest.mark.parametrize(
    ("verifier", "engine"),
    [(EqualText(judges_beside=False), Telling), (EqualText(), Silent)],
    ids=["verifier", "engine"],
)
def test_others_are_asked_once_at_the_end(verifier: EqualText, engine: type[Telling]) -> None:
    found = judged(verifier, engine(verifier.has_judged))
    assert [one.verdict is Verdict.CORRECT for one in found] == [i == i // 2 for i in range(80)]
    assert verifier.asked == [(threading.main_thread().name, TEXTS)]


def test_what_the_verifier_raises_is_raised_where_all_is_asked_for() -> None:
    with RoundJudge(EqualText(), PROBLEMS[:2]) as judge:
        judge.take([(0, completion("broken"))])
        with pytest.raises(RunError, match="the verifier broke"):
            judge.judgements(["broken", "1"])


def test_a_stop_while_drawing_abandons_what_is_judged_and_what_waits() -> None:
    verifier = Abandonable()
    with pytest.raises(Interrupted):
        judged(verifier, Telling(verifier.has_judged, fails=True))
    assert not any(thread.name.startswith("judging") for thread in threading.enumerate())
    assert [texts for _, texts in verifier.asked] == [TEXTS[40:]]


def test_what_the_verifier_raised_ends_the_drawing() -> None:
    with RoundJudge(EqualText(), PROBLEMS[:2]) as judge:
        judge.take([(0, completion("broken"))])
        assert judge._work is not None
        assert isinstance(judge._work.exception(SOON_S), RunError)
        with pytest.raises(RunError, match="the verifier broke"):
            judge.take([(1, completion("1"))])


def test_a_response_that_is_another_in_the_end_is_judged_again() -> None:
    verifier = EqualText()
    with RoundJudge(verifier, PROBLEMS[:2]) as judge:
        judge.take([(0, completion("1")), (1, completion("1"))])
        found = judge.judgements(["0", "1"])
    assert [one.verdict for one in found] == [Verdict.CORRECT, Verdict.CORRECT]


@pytest.mark.parametrize("max_rows", [2, 64])
def test_the_hf_engine_hands_every_completion_over_with_its_place(max_rows: int) -> None:
    engine = HfEngine(tiny_llama(), tiny_tokenizer(), max_rows=max_rows)
    told: dict[int, Completion] = {}
    prompts = [[1, 5, 6], [1, 7], [1, 8, 9, 4]]
    drawn = engine.generate(
        prompts, 3, Sampling(max_tokens=12), seeds=[3, 4, 5], on_ended=lambda ended: told.update(ended)
    )
    assert [told[i] for i in range(9)] == [one for group in drawn for one in group]


def test_the_scripted_engine_does_too() -> None:
    engine = ScriptedEngine(tiny_tokenizer(), ["w3", "w4 w5", "w6", "w7"])
    told: dict[int, Completion] = {}
    drawn = engine.generate(
        [[1], [1, 5]], 2, Sampling(max_tokens=5), seeds=[0, 1], on_ended=lambda ended: told.update(ended)
    )
    assert [told[i] for i in range(4)] == [one for group in drawn for one in group]


def test_the_math_verifier_works_beside_also_when_it_is_borrowed() -> None:
    with MathVerifier(workers=1) as verifier, RoundJudge(Borrowed(verifier), PROBLEMS[:3]) as judge:
        engine = HfEngine(tiny_llama(), tiny_tokenizer())
        judge.told_by(engine)["on_ended"](
            [(2, completion("so it is \\boxed{2}")), (0, completion("\\boxed{\\frac{0}{3}}"))]
        )
        found = judge.judgements(["\\boxed{\\frac{0}{3}}", "\\boxed{5}", "so it is \\boxed{2}"])
    assert [one.verdict for one in found] == [Verdict.CORRECT, Verdict.WRONG, Verdict.CORRECT]
