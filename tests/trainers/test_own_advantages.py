"""Our estimators in the place of a trainer's own: what they give, and what the trainer cannot do."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from unsqueeze.algos.estimators import estimator_named
from unsqueeze.algos.groups import Advantages, Estimator, Groups
from unsqueeze.algos.surrogate import Surrogate
from unsqueeze.errors import UserError
from unsqueeze.integrations.advantages import OwnAdvantages, surrogate_of
from unsqueeze.integrations.responses import Asked, Response, Scored, group_of
from unsqueeze.rollout.types import Group, StopReason

NAN = float("nan")


def group(number: int, rewards: list[float], logp: float = -1.0) -> Group:
    """Responses of 1, 2, … tokens, each of the log-prob ``logp`` times its number of tokens."""
    responses, scored = [], []
    for tokens, reward in enumerate(rewards, start=1):
        responses.append(
            Response(
                prompt_tokens=np.zeros(1, np.int32),
                tokens=np.zeros(tokens, np.int32),
                text="",
                stop_reason=StopReason.EOS,
                reward=reward,
                rewards={"right": reward},
            )
        )
        scored.append(Scored(*[np.full(tokens, logp * tokens, np.float32)] * 2))
    return group_of(Asked("ask", "", responses), iter(scored), number=number, step=1, phase=0, policy_version=0)


def own(estimator: Estimator, scale_rewards: str = "group") -> OwnAdvantages:
    return OwnAdvantages(estimator, surrogate_of(scale_rewards, "sps_advantage"), setting="sps_advantage")


@pytest.mark.parametrize(
    ("name", "scale_rewards", "expected"),
    [
        # Of 1, 0, 0, 0: p = 1/4, and (r − p)/p; of 1, not judged, 0, 0: p = 1/3. What is above 0 is right, and earns 1.
        ("max_rl", "group", [3, -1, -1, -1, 2, 0, -1, -1]),
        ("group_relative", "none", [3 / 4, -1 / 4, -1 / 4, -1 / 4, 2 / 3, 0, -1 / 3, -1 / 3]),
        # Over the std of n − 1, which is 1/2 and √(1/3), and 1e-4.
        (
            "group_relative",
            "group",
            [
                *(value / 0.5001 for value in (3 / 4, -1 / 4, -1 / 4, -1 / 4)),
                *(value / (3**-0.5 + 1e-4) for value in (2 / 3, 0, -1 / 3, -1 / 3)),
            ],
        ),
    ],
)
def test_advantages_are_those_of_the_verdicts(name: str, scale_rewards: str, expected: list[float]):
    groups = [group(0, [0.5, 0.0, 0.0, -2.0]), group(1, [1.0, NAN, 0.0, 0.0])]
    found = own(estimator_named(name, {}), scale_rewards).of(groups)
    assert found.dtype == torch.float32
    assert found.tolist() == pytest.approx(expected, rel=1e-6)


def test_likelihoods_are_the_stored_ones():
    # Sums of log-probs −1, −4: the right response gains by γ, the wrong one loses by four times as much.
    plain = own(estimator_named("group_relative", {})).of([group(0, [1.0, 0.0])])
    found = own(estimator_named("differential_smoothing", {"right_weight": 0.1, "wrong_weight": 0.1})).of(
        [group(0, [1.0, 0.0])]
    )
    assert (found - plain).tolist() == pytest.approx([0.1, -0.4], rel=1e-5)


def by_token(groups: Groups, settings: Surrogate) -> Advantages:
    return Advantages(groups.logp_PGT, groups.judged_PG)


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (by_token, "the estimator of sps_advantage gives every token an advantage of its own, and the trainer has"),
        (
            estimator_named("w_reinforce", {"right_weight": 0.0}),
            "the estimator of sps_advantage leaves judged responses out of the batch, and the trainer has",
        ),
        (estimator_named("pass_at_k", {"k": 5}), "pass_at_k: k is 5"),
    ],
)
def test_what_the_trainer_cannot_do_is_told_before_it_begins(estimator: Any, message: str):
    with pytest.raises(UserError, match=message):
        own(estimator).try_once(4)
    own(partial(estimator_named("w_reinforce", {}), right_weight=0.5)).try_once(4)


def test_a_scale_over_the_whole_batch_is_refused():
    with pytest.raises(UserError, match="scale_rewards is 'batch', and sps_advantage estimates every group by itself"):
        surrogate_of("batch", "sps_advantage")
