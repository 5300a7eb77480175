"""What an estimator may be, what may be wrong with one, and what its answer is taken for."""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch

from unsqueeze.algos.advantages.group_relative import group_relative
from unsqueeze.algos.groups import Advantages, Estimator, Groups
from unsqueeze.algos.surrogate import Surrogate
from unsqueeze.config.rl_settings import RlSettings
from unsqueeze.errors import UserError
from unsqueeze.training.estimating import estimate, estimator_of

HERE = __name__
NAN = math.nan


def two_groups() -> Groups:
    """Two groups of two responses, of 1 and 2 tokens, of 3 and 1; the last was not judged."""
    logp_PGT = torch.tensor([[[-1.0, 0, 0], [-1.0, -3.0, 0]], [[-1.0, -1.0, -4.0], [-2.0, 0, 0]]])
    return Groups(
        rewards_PG=torch.tensor([[1.0, 0.0], [1.0, NAN]]),
        num_tokens_PG=torch.tensor([[1, 2], [3, 1]]),
        logp_sum_PG=logp_PGT.sum(dim=-1),
        logp_PGT=logp_PGT,
    )


def scaled(groups: Groups, settings: Surrogate, *, by: float, plus: float = 0.0) -> Advantages:
    """The reward times ``by``; every response trains, one that was not judged too, if it were up to this."""
    if by < 0:
        raise ValueError(f"by is {by}; it must not be negative.")
    return Advantages(by * groups.rewards_PG + plus, torch.ones_like(groups.rewards_PG, dtype=torch.bool))


def by_token(groups: Groups, settings: Surrogate) -> Advantages:
    """The likelihood of each token, NaN on padding."""
    return Advantages(torch.where(groups.mask_PGT, groups.logp_PGT, NAN), groups.judged_PG)


def no_advantages(groups: Groups, settings: Surrogate) -> torch.Tensor:
    return groups.rewards_PG


def one_a_group(groups: Groups, settings: Surrogate) -> Advantages:
    return Advantages(groups.rewards_PG[:, 0], groups.judged_PG[:, 0])


def infinite(groups: Groups, settings: Surrogate) -> Advantages:
    return Advantages(torch.full_like(groups.rewards_PG, math.inf), groups.judged_PG)


not_even_a_function = 7


def test_groups_say_what_an_estimator_needs():
    groups = two_groups()
    assert groups.judged_PG.tolist() == [[True, True], [True, False]]
    assert groups.logp_mean_PG.tolist() == [[-1.0, -2.0], [-2.0, -2.0]]
    assert groups.mask_PGT.tolist() == [
        [[True, False, False], [True] * 2 + [False]],
        [[True] * 3, [True, False, False]],
    ]


def test_right_are_the_rewards_of_one_and_others_than_0_and_1_are_refused():
    groups = two_groups()
    assert groups.right_PG.tolist() == [[True, False], [True, False]]
    with pytest.raises(ValueError, match=r"rewards of 0 and 1 alone; set rl\.overlong to null"):
        _ = replace(groups, rewards_PG=groups.rewards_PG - 0.25).right_PG


def test_the_default_is_group_relative_and_each_name_stands_for_a_function():
    assert estimator_of(RlSettings()) is group_relative
    assert estimator_of(RlSettings(algorithm="dr_grpo", advantage="group_relative")) is group_relative


def test_options_are_arguments():
    estimator = estimator_of(RlSettings(advantage=f"{HERE}:scaled", advantage_options={"by": 2.0, "plus": 1.0}))
    assert isinstance(estimator, partial)
    given = estimate(estimator, two_groups(), Surrogate())
    # 2·1 + 1, 2·0 + 1; and what was not judged does not train, whatever the estimator says.
    assert given.values.tolist() == [[3.0, 1.0], [3.0, 0.0]]
    assert given.trains_PG.tolist() == [[True, True], [True, False]]
    assert given.moves_PG.tolist() == given.trains_PG.tolist()


def test_advantages_of_tokens_are_nothing_on_padding():
    given = estimate(by_token, two_groups(), Surrogate())
    assert given.values.tolist() == [[[-1, 0, 0], [-1, -3, 0]], [[-1, -1, -4], [0, 0, 0]]]
    assert given.moves_PG.tolist() == [[True, True], [True, False]]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"advantage": "maxrl"}, "rl.advantage is 'maxrl'; known are"),
        ({"advantage": f"{HERE}:not_even_a_function"}, "which is a int; it must be a function"),
        ({"advantage": f"{HERE}:nothing"}, "has no nothing"),
        ({"advantage": f"{HERE}:scaled"}, "missing a required argument: 'by'; its options are: by, plus"),
        ({"advantage_options": {"k": 4}}, "unexpected keyword argument 'k'; its options are: none"),
    ],
)
def test_a_wrong_estimator_is_refused_in_one_sentence(settings: dict, message: str):
    with pytest.raises((UserError, ValueError), match=message):
        estimator_of(RlSettings(**settings))


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (partial(scaled, by=-1.0), r"estimator of advantages scaled: by is -1\.0; it must not be negative"),
        (no_advantages, "no_advantages gave a Tensor; it must give algos.groups.Advantages"),
        (infinite, "infinite gave an advantage that is not finite to a response that trains"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(estimator: Estimator, message: str):
    with pytest.raises(UserError, match=message):
        estimate(estimator, two_groups(), Surrogate())


def test_advantages_of_another_shape_are_refused():
    # jaxtyping refuses them before, where it checks: it is asked without.
    given = object.__new__(Advantages)
    object.__setattr__(given, "values", torch.zeros(2))
    object.__setattr__(given, "trains_PG", torch.ones(2, dtype=torch.bool))
    with pytest.raises(UserError, match=r"values of the shape \[2\] and trains_PG of the shape \[2\].*\[2, 2, 3\]"):
        estimate(lambda groups, settings: given, two_groups(), Surrogate())
