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


def test_small_numbers_may_differ_by_what_one_rounds() -> None:
    assert agree_to_rounding(torch.tensor([0.01 + 0.9e-4]), torch.tensor([0.01]))
    assert not agree_to_rounding(torch.tensor([0.01 + 1.2e-4]), torch.tensor([0.01]))
