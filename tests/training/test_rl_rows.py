"""From judged groups to rows of the optimizer batch, by hand."""

import math

import numpy as np
import pytest
import torch

from unsqueeze.algos.groups import Advantages, Groups
from unsqueeze.algos.surrogate import Surrogate
from unsqueeze.config.rl_settings import OverlongSettings, RlSettings
from unsqueeze.policy.batch import Row
from unsqueeze.rollout.types import Completion, Group, Rollout, StopReason
from unsqueeze.tasks.problem import Problem
from unsqueeze.training import rl_rows as rl_rows_module
from unsqueeze.training import rl_step
from unsqueeze.training.estimating import estimated_groups, estimator_of
from unsqueeze.training.generate import informative, step_batches
from unsqueeze.training.rl_rows import trained_rollouts
from unsqueeze.verify.verdict import Judgement, Verdict

RIGHT, WRONG, FAILED, LATE = Verdict.CORRECT, Verdict.WRONG, Verdict.CRASHED, Verdict.TIMED_OUT


def rl_rows(groups: list[Group], settings: RlSettings, *, max_tokens: int) -> list[Row]:
    trained = trained_rollouts(groups, settings, estimator_of(settings), max_tokens=max_tokens)
    return rl_rows_module.rl_rows(trained, trainer_scores=False)


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
    rows = rl_rows([group(0, (RIGHT, 4), (FAILED, 5), (WRONG, 2))], RlSettings(aggregation="token_mean"), max_tokens=10)
    # Two judged answers with 4 + 2 tokens; the third is neither a row nor in the denominator.
    assert [len(row.tokens) for row in rows] == [4, 2]
    assert [row.weight for row in rows] == pytest.approx([1 / 6, 1 / 6])
    assert rl_rows([group(0, (FAILED, 4), (FAILED, 5))], RlSettings(), max_tokens=10) == []


@pytest.mark.parametrize("advantage", ["group_relative", "max_rl"])
@pytest.mark.parametrize(
    ("aggregation", "weights"),
    # Two judged answers, of 4 and 2 tokens, at a limit of 10; counted with it, the third would make 3 of them, and 11.
    [("sequence_mean", [1 / (2 * 4), 1 / (2 * 2)]), ("token_mean", [1 / 6] * 2), ("constant", [1 / (2 * 10)] * 2)],
)
def test_no_denominator_counts_an_answer_that_was_not_judged(
    aggregation: str, weights: list[float], advantage: str
) -> None:
    settings = RlSettings(aggregation=aggregation, advantage=advantage)
    rows = rl_rows([group(0, (RIGHT, 4), (FAILED, 5), (WRONG, 2))], settings, max_tokens=10)
    assert [row.weight for row in rows] == pytest.approx(weights)


def test_an_answer_that_kept_the_verifier_busy_is_trained_on_as_wrong() -> None:
    for verdict in (LATE, Verdict.TOO_LARGE):
        late = rl_rows([group(0, (RIGHT, 4), (verdict, 5), (WRONG, 2))], RlSettings(), max_tokens=10)
        wrong = rl_rows([group(0, (RIGHT, 4), (WRONG, 5), (WRONG, 2))], RlSettings(), max_tokens=10)
        assert [(row.advantage, row.weight) for row in late] == [(row.advantage, row.weight) for row in wrong]
        assert len(late) == 3


def test_a_kl_term_keeps_every_judged_row() -> None:
    groups = [group(0, (WRONG, 4), (WRONG, 2), (FAILED, 2))]
    rows = rl_rows(groups, RlSettings(kl_coefficient=0.1), max_tokens=10)
    assert [row.advantage for row in rows] == [0.0, 0.0]


def test_overlong_punishment_shapes_the_reward() -> None:
    settings = RlSettings(overlong=OverlongSettings(soft_cache_length=4), advantage_scale="none")
    # Limit 10, cache 4: 6 tokens cost nothing, 8 tokens −1/2. Rewards 1 and 1 − 1/2: centred ±1/4.
    rows = rl_rows([group(0, (RIGHT, 6), (RIGHT, 8))], settings, max_tokens=10)
    assert [row.advantage for row in rows] == pytest.approx([0.25, -0.25])


def test_metrics_of_rollouts_by_hand() -> None:
    metrics = rollout_metrics([group(0, (RIGHT, 4), (WRONG, 2)), group(1, (WRONG, 3), (FAILED, 3))])
    assert metrics["reward"] == pytest.approx(1 / 4)  # whatever was not judged counts as wrong
    assert metrics["informative_groups"] == 0.5
    assert metrics["not_judged"] == 1
    assert metrics["entropy"] == pytest.approx(0.5)
    assert metrics["response_tokens_mean"] == 3.0
    assert rollout_metrics([]) == {"reward": None}


def by_length(groups: Groups, settings: Surrogate) -> Advantages:
    """Every judged response trains, right or wrong, and the tokens of a response have advantages 1, 2, 3, …"""
    places_PGT = torch.arange(1.0, groups.logp_PGT.shape[-1] + 1).expand_as(groups.logp_PGT)
    return Advantages(places_PGT, groups.judged_PG)


def right_ones_alone(groups: Groups, settings: Surrogate) -> Advantages:
    """Wrong answers are no part of the batch; of right ones the advantage is the likelihood."""
    return Advantages(groups.logp_sum_PG, groups.rewards_PG == 1)


def test_advantages_of_tokens_come_to_the_row_without_padding() -> None:
    settings = RlSettings(advantage=f"{__name__}:by_length")
    rows = rl_rows([group(0, (RIGHT, 3), (WRONG, 1), (FAILED, 2))], settings, max_tokens=10)
    assert [row.advantage.tolist() for row in rows] == [[1.0, 2.0, 3.0], [1.0]]
    assert [row.weight for row in rows] == pytest.approx([1 / (2 * 3), 1 / 2])


def test_the_estimator_says_which_responses_are_in_the_denominators() -> None:
    settings = RlSettings(advantage=f"{__name__}:right_ones_alone", aggregation="token_mean")
    rows = rl_rows([group(0, (RIGHT, 4), (WRONG, 2)), group(1, (RIGHT, 3), (RIGHT, 5))], settings, max_tokens=10)
    # Log-probs are −0.5 a token: −2, −1.5 and −2.5; the right answers have 4 + 3 + 5 tokens.
    assert [row.advantage for row in rows] == [-2.0, -1.5, -2.5]
    assert [row.weight for row in rows] == pytest.approx([1 / 12] * 3)


def test_the_estimator_says_which_groups_are_informative() -> None:
    groups = [group(0, (RIGHT, 1), (WRONG, 1)), group(1, (RIGHT, 1), (RIGHT, 1)), group(2, (WRONG, 1), (WRONG, 1))]
    groups.append(group(3, (FAILED, 1), (FAILED, 1)))
    asked = {
        name: informative(groups, estimator_of(RlSettings(advantage=name)), RlSettings())
        for name in ("group_relative", f"{__name__}:right_ones_alone", f"{__name__}:by_length")
    }
    assert list(asked.values()) == [
        [True, False, False, False],
        [True, True, False, False],
        [True, True, True, False],
    ]


def test_dynamic_sampling_asks_the_estimator() -> None:
    sampled = [group(0, (RIGHT, 1), (RIGHT, 1)), group(1, (WRONG, 1), (WRONG, 1))]
    settings = RlSettings(
        advantage=f"{__name__}:right_ones_alone", prompts_per_step=2, dynamic_sampling={"max_resample_times": 0}
    )
    [batch] = step_batches(sampled, range(1, 2), settings, estimator_of(settings))
    assert [each.problem.id for each in batch.groups] == ["p0"]
    assert (batch.num_missing, batch.num_informative_lost) == (1, 0)
    [batch] = step_batches(sampled, range(1, 2), settings, estimator_of(RlSettings()))
    assert batch.groups == []


def test_groups_are_shown_with_the_likelihood_of_every_token() -> None:
    shown = estimated_groups([group(0, (RIGHT, 3), (WRONG, 1))], torch.tensor([[1.0, 0.0]]))
    assert shown.num_tokens_PG.tolist() == [[3, 1]]
    assert shown.logp_PGT.tolist() == [[[-0.5, -0.5, -0.5], [-0.5, 0.0, 0.0]]]
    assert shown.logp_sum_PG.tolist() == [[-1.5, -0.5]]
    assert shown.logp_mean_PG.tolist() == [[-0.5, -0.5]]
