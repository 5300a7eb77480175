"""Weights averaged with the base model."""

import pytest
import torch

from tiny_models import random_countdown
from unsqueeze.config.recipe import ModelSettings
from unsqueeze.labs.point import mix
from unsqueeze.policy.policy import Policy


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
def test_every_weight_is_the_weighted_mean_of_both(share: float) -> None:
    settings = ModelSettings(path=str(random_countdown()))
    base, policy = Policy.load(settings), Policy.load(settings)
    with torch.no_grad():
        for _, parameter in policy.trainable():
            parameter.add_(torch.randn_like(parameter))
    own = {name: parameter.detach().clone() for name, parameter in policy.trainable()}
    before = {name: parameter.detach().clone() for name, parameter in base.trainable()}
    mix(policy, base, share)
    for name, parameter in policy.trainable():
        torch.testing.assert_close(parameter, (1 - share) * before[name] + share * own[name])
    assert all(torch.equal(parameter, before[name]) for name, parameter in base.trainable())
