"""docs/paper.md and docs/algorithms.md stay true: metric keys, settings, and the arithmetic of the IRL step size."""

import re
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest
import torch
from pydantic import BaseModel

from small_runs import random_recipe, run_to_end
from unsqueeze.config.recipe import Recipe
from unsqueeze.store.run_directory import RunDirectory
from unsqueeze.training.phase_report import NOTHING_MOVED_NATS, PhaseReport

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ["paper.md", "algorithms.md"]


def code_spans(page: str) -> set[str]:
    return set(re.findall(r"`([^`\n]+)`", (DOCS / page).read_text(encoding="utf-8")))


# --- metrics and settings ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("judged_by_hash")
def test_every_metric_of_a_run_is_on_the_page(tmp_path: Path) -> None:
    recipe = random_recipe(
        rl={"steps": 2, "kl_coefficient": 0.01, "entropy_coefficient": 0.01, "dynamic_sampling": {}},
        irl={"kl_budget": 1.0, "kl_guard": 0.1},
    )
    run_to_end(recipe, tmp_path / "run")
    written = {key for line in RunDirectory.open(tmp_path / "run").metrics.read() for key in line}
    assert {"kl_ref", "kl_start", "nll", "ratio_mean"} <= written
    assert written - code_spans("paper.md") == set()


def test_every_field_of_the_phase_report_is_on_the_page() -> None:
    names = {field.name for field in fields(PhaseReport)} | {"did_nothing"}
    assert names - {"first_step", "last_step"} - code_spans("paper.md") == set()


def settings(model: type[BaseModel], prefix: str = "") -> set[str]:
    """All dotted names of settings, sections included."""
    names = set()
    for name, field in model.model_fields.items():
        names.add(prefix + name)
        for option in (field.annotation, *get_args(field.annotation)):
            if isinstance(option, type) and issubclass(option, BaseModel):
                names |= settings(option, f"{prefix}{name}.")
    return names


@pytest.mark.parametrize("page", PAGES)
def test_every_setting_that_is_named_exists(page: str) -> None:
    known = settings(Recipe)
    sections = "|".join(name for name in Recipe.model_fields)
    named = {span for span in code_spans(page) if re.fullmatch(rf"(?:{sections})\.[a-z_.]+", span)}
    assert len(named) > 10
    assert named - known == set()


def test_the_threshold_of_the_warning_is_the_one_in_the_code() -> None:
    text = (DOCS / "paper.md").read_text(encoding="utf-8")
    assert NOTHING_MOVED_NATS == 1e-6
    assert len(re.findall(r"less than 1e-6 nats per token", text)) == 2


# --- the step size -----------------------------------------------------------------------------------------------


def four_adamw_steps(learning_rate: float, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights of standard deviation 0.02 before and after, under gradients that agree from step to step."""
    generator = torch.Generator().manual_seed(0)
    before = (torch.randn(1_000_000, generator=generator) * 0.02).to(dtype)
    weights = before.clone().requires_grad_()
    optimizer = torch.optim.AdamW([weights], lr=learning_rate, betas=(0.9, 0.95), weight_decay=0.0)
    direction = torch.randn(1_000_000, generator=generator)
    for _ in range(4):
        weights.grad = (direction + torch.randn(1_000_000, generator=generator)).to(dtype)
        optimizer.step()
    return before, weights.detach()


@pytest.mark.parametrize(
    ("learning_rate", "largest", "moved", "moved_bf16", "changed_bf16", "cosine"),
    [
        (5e-10, 2.0e-9, 0.55, 0.000007, 0.00012, 0.70),
        (5e-7, 2.0e-6, 1.0, 0.010, 0.052, 1.0),
        (1e-6, 4.0e-6, 1.0, 0.019, 0.091, 1.0),
    ],
)
def test_what_four_steps_move(
    learning_rate: float, largest: float, moved: float, moved_bf16: float, changed_bf16: float, cosine: float
) -> None:
    exact_before, exact = four_adamw_steps(learning_rate, torch.float64)
    before, after = four_adamw_steps(learning_rate, torch.float32)
    low_before, low = four_adamw_steps(learning_rate, torch.bfloat16)
    move = (after - before).double()
    exact_move = exact - exact_before
    assert exact_move.abs().max().item() == pytest.approx(largest, rel=0.02)
    assert (move != 0).double().mean().item() == pytest.approx(moved, rel=0.02)
    assert (low != low_before).double().mean().item() == pytest.approx(moved_bf16, rel=0.1, abs=4e-6)
    changed = (after.bfloat16() != before.bfloat16()).double().mean().item()
    assert changed == pytest.approx(changed_bf16, rel=0.05, abs=2e-5)
    assert torch.nn.functional.cosine_similarity(move, exact_move, dim=0).item() == pytest.approx(cosine, abs=0.01)


def test_units_in_the_last_place_of_a_weight() -> None:
    weight = torch.tensor(0.02)
    ulp_fp32 = torch.nextafter(weight, torch.tensor(1.0)) - weight
    low = weight.bfloat16()
    ulp_bf16 = torch.nextafter(low, torch.tensor(1.0, dtype=torch.bfloat16)).float() - low.float()
    assert ulp_fp32.item() == pytest.approx(1.9e-9, rel=0.03)
    assert ulp_bf16.item() == pytest.approx(1.2e-4, rel=0.03)
