"""From judged groups to rows of the optimizer batch, by hand."""

import math

import numpy as np
import pytest

from unsqueeze.config.recipe import OverlongSettings, RlSettings
from unsqueeze.policy.batch import Row
from unsqueeze.rollout.types import Completion, Group, Rollout, StopReason
from unsqueeze.tasks.problem import Problem
from unsqueeze.training import rl_step
from unsqueeze.training.estimating import estimator_of
from unsqueeze.verify.verdict import Judgement, Verdict

RIGHT, WRONG, LATE = Verdict.CORRECT, Verdict.WRONG, Verdict.TIMED_OUT


def rl_rows(groups: list[Group], settings: RlSettings, *, max_tokens: int) -> list[Row]:
    return rl_step.rl_rows(groups, settings, estimator_of(settings), max_tokens=max_tokens)


def rollout_metrics(groups: list[Group]) -> dict:
    return rl_step.rollout_metrics(groups, estimator_of(RlSettings()), RlSettings())


def group(number: int, *answers: tuple[Verdict, int]) -> Group:
    """A group of responses given as (verdict, length); every token has a log-prob of −0.5."""
    rollouts = tuple(
        Rollout(
            problem_id=f"p{number}",
            group=number,
            index=index,
            prompt_tokens=np.array([1, 2], dtype=np.int32),
            completion=Completion(
                tokens=np.full(length, 7, dtype=np.int32),
                text="",
                logp_raw=np.full(length, -0.5, dtype=np.float32),
                logp_behaviour=np.full(length, -0.5, dtype=np.float32),
                stop_reason=StopReason.EOS,
            ),
            policy_version=0,
            phase=0,
            step=1,
        )
        for index, (_, length) in enumerate(answers)
    )
    problem = Problem(id=f"p{number}", prompt="", answer="", task="math")
    return Group(problem=problem, rollouts=rollouts, judgements=tuple(Judgement(verdict) for verdict, _ in answers))


def test_rows_without_gradient_are_left_out_and_still_counted() -> None:
    groups = [group(0, (RIGHT, 4), (WRONG, 2)), group(1, (WRONG, 3), (WRONG, 3))]
    rows = rl_rows(groups, RlSettings(), max_tokens=10)
    # Rewards 1, 0: mean 1/2, sample std √(1/2), so advantages are ±(1/2) / (√(1/2) + 1e-4).
    advantage = 0.5 / (math.sqrt(0.5) + 1e-4)
    assert [row.advantage for row in rows] == pytest.approx([advantage, -advantage], rel=1e-6)
    # Mean over responses: the denominator counts all four, and each token of a response carries 1/(4·length).
    assert [row.weight for row in rows] == pytest.approx([1 / (4 * 4), 1 / (4 * 2)])


def test_answers_that_were_not_judged_are_no_part_of_the_batch() -> None:
    rows = rl_rows([group(0, (RIGHT, 4), (LATE, 5), (WRONG, 2))], RlSettings(aggregation="token_mean"), max_tokens=10)
    # Two judged answers with 4 + 2 tokens; the third is neither a row nor in the denominator.
    assert [len(row.tokens) for row in rows] == [4, 2]
    assert [row.weight for row in rows] == pytest.approx([1 / 6, 1 / 6])
    assert rl_rows([group(0, (LATE, 4), (LATE, 5))], RlSettings(), max_tokens=10) == []


def test_a_kl_term_keeps_every_judged_row() -> None:
    groups = [group(0, (WRONG, 4), (WRONG, 2), (LATE, 2))]
    rows = rl_rows(groups, RlSettings(kl_coefficient=0.1), max_tokens=10)
    assert [row.advantage for row in rows] == [0.0, 0.0]


def test_overlong_punishment_shapes_the_reward() -> None:
    settings = RlSettings(overlong=OverlongSettings(soft_cache_length=4), advantage_scale="none")
    # Limit 10, cache 4: 6 tokens cost nothing, 8 tokens −1/2. Rewards 1 and 1 − 1/2: centred ±1/4.
    rows = rl_rows([group(0, (RIGHT, 6), (RIGHT, 8))], settings, max_tokens=10)
    assert [row.advantage for row in rows] == pytest.approx([0.25, -0.25])


def test_metrics_of_rollouts_by_hand() -> None:
    metrics = rollout_metrics([group(0, (RIGHT, 4), (WRONG, 2)), group(1, (WRONG, 3), (LATE, 3))])
    assert metrics["reward"] == pytest.approx(1 / 3)
    assert metrics["informative_groups"] == 0.5
    assert metrics["not_judged"] == 1
    assert metrics["entropy"] == pytest.approx(0.5)
    assert metrics["response_tokens_mean"] == 3.0
    assert rollout_metrics([]) == {"reward": None}
