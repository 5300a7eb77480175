"""Demonstrations into batches, and how long and how fast an IRL phase goes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiny_models import tiny_llama, tiny_tokenizer
from unsqueeze.config.irl_settings import IrlSettings
from unsqueeze.policy.batch import Row, TokenBatch
from unsqueeze.policy.optimize import make_optimizer
from unsqueeze.policy.policy import Policy
from unsqueeze.tasks.problem import Problem
from unsqueeze.training.irl_phase import DEMONSTRATION_TOKENS_ON_CPU, demonstration_batches, irl_updates, rate_share
from unsqueeze.training.stream import ProblemStream


@given(count=st.integers(1, 60), batch_size=st.integers(1, 70), seed=st.integers(0, 5))
def test_batches_hold_no_demonstration_twice_and_a_pass_none_again(count: int, batch_size: int, seed: int) -> None:
    batches = demonstration_batches(count, batch_size, np.random.default_rng(seed))
    size = min(count, batch_size)
    for _ in range(2):
        one_pass = [index for _ in range(count // size) for index in next(batches)]
        assert len(one_pass) == len(set(one_pass)) == count // size * size
        assert set(one_pass) <= set(range(count))


def test_how_many_updates() -> None:
    assert IrlSettings(steps=4).num_updates(0) == 0
    assert IrlSettings(steps=4).num_updates(10) == 4
    # 2,400 demonstrations in batches of 512 are four batches a pass; two and a half passes are ten.
    assert IrlSettings(passes=2.5, batch_size=512).num_updates(2400) == 10
    # Fewer demonstrations than a batch are one batch a pass.
    assert IrlSettings(passes=3, batch_size=512).num_updates(100) == 3


def one_update(rows: list[Row], monkeypatch: pytest.MonkeyPatch, *, at_once: int) -> tuple[float, list[int]]:
    """The loss, and how many tokens each micro-batch has with its padding."""
    policy = Policy(tiny_llama(context=64), tiny_tokenizer(32))
    settings = IrlSettings(steps=1, batch_size=len(rows))
    read: list[int] = []

    def counted(part: list[Row]) -> TokenBatch:
        batch = Policy.collate(policy, part)
        read.append(batch.tokens_NS.numel())
        return batch

    monkeypatch.setattr(policy, "collate", counted)
    (update,) = irl_updates(
        policy,
        settings,
        rows,
        optimizer=make_optimizer(policy, settings),
        rng=np.random.default_rng(0),
        tokens_per_microbatch=at_once,
        kl_moved=lambda: 0.0,
        check_stop=lambda: None,
    )
    return update.result.loss, read


def test_micro_batches_are_small_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    rows = [
        Row(prompt_tokens=np.array([place % 32], np.int32), tokens=rng.integers(0, 32, 30, dtype=np.int32), weight=0.0)
        for place in range(100)
    ]
    loss, read = one_update(rows, monkeypatch, at_once=16_384)
    assert len(read) == 2
    assert max(read) <= DEMONSTRATION_TOKENS_ON_CPU
    smaller, parts = one_update(rows, monkeypatch, at_once=310)  # what a recipe allows holds all the same
    assert max(parts) <= 310
    assert smaller == pytest.approx(loss, rel=1e-6)


def test_schedules_by_hand() -> None:
    assert [rate_share("constant", update, 4) for update in (1, 4)] == [1.0, 1.0]
    assert [rate_share("linear", update, 4) for update in (1, 2, 3, 4)] == [1.0, 0.75, 0.5, 0.25]
    # cos(0) = 1, cos(π/2) = 0: halfway through, half the rate.
    assert rate_share("cosine", 1, 4) == 1.0
    assert rate_share("cosine", 3, 4) == pytest.approx(0.5)


def problems(count: int) -> list[Problem]:
    return [Problem(id=str(i), prompt="", answer="", task="math") for i in range(count)]


@given(count=st.integers(1, 30), takes=st.lists(st.integers(1, 40), max_size=6), seed=st.integers(0, 3))
def test_every_pass_holds_every_problem_once(count: int, takes: list[int], seed: int) -> None:
    stream = ProblemStream(problems(count), seed=seed)
    taken = [problem.id for size in takes for problem in stream.take(size)]
    for start in range(0, len(taken) - count + 1, count):
        assert sorted(taken[start : start + count]) == sorted(problem.id for problem in problems(count))
    assert stream.position == len(taken)


def test_a_stream_goes_on_from_its_position() -> None:
    whole = [problem.id for problem in ProblemStream(problems(7), seed=1).take(20)]
    assert [problem.id for problem in ProblemStream(problems(7), seed=1, position=11).take(9)] == whole[11:]
    assert whole[:7] != whole[7:14]
