"""When two ways of computing the same agree."""

import pytest
import torch

from unsqueeze.policy.rounding import agree_to_rounding

LOGITS = torch.tensor([[33.0, -1.0], [0.5, 0.0]])


@pytest.mark.parametrize(("off", "agrees"), [(0.0, True), (3.3e-3, True), (3.5e-3, False), (float("nan"), False)])
def test_the_largest_entry_sets_the_bound_for_all(off: float, agrees: bool) -> None:
    """1e-4 · (1 + 33) is 3.4e-3, for the smallest entry as well."""
    found = LOGITS.clone()
    found[1, 1] += off
    assert agree_to_rounding(found, LOGITS) is agrees


def test_what_is_not_finite_must_be_the_same() -> None:
    masked = torch.tensor([float("-inf"), 2.0])
    assert agree_to_rounding(masked.clone(), masked)
    assert not agree_to_rounding(torch.tensor([-1e9, 2.0]), masked)
    assert not agree_to_rounding(torch.tensor([float("-inf"), 2.1]), masked)
    assert not agree_to_rounding(masked, torch.tensor([0.0, 2.0]))
    assert agree_to_rounding(masked[:1], masked[:1])


def test_small_numbers_may_differ_by_what_one_rounds() -> None:
    assert agree_to_rounding(torch.tensor([0.01 + 0.9e-4]), torch.tensor([0.01]))
    assert not agree_to_rounding(torch.tensor([0.01 + 1.2e-4]), torch.tensor([0.01]))
