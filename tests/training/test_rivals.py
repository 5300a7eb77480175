"""Methods that rival SPS, each through the real loop with IRL phases, and the bits of those that were stopped."""

from pathlib import Path
from typing import Any

import pytest

from lives import live, tiny_recipe
from unsqueeze.errors import UserError
from unsqueeze.store.run_directory import RunDirectory
from unsqueeze.training.rehearsal import rehearse
from unsqueeze.training.setup import load_parts

pytestmark = pytest.mark.usefixtures("judged_by_hash")

ESTIMATORS: dict[str, dict[str, Any]] = {
    "max_rl": {"advantage": "max_rl"},
    "pass_at_k": {"advantage": "pass_at_k", "advantage_options": {"k": 2}},
    "pkpo": {"advantage": "pkpo", "advantage_options": {"k": 2}},
    "w_reinforce": {"advantage": "w_reinforce"},
    "nsr": {"advantage": "w_reinforce", "advantage_options": {"right_weight": 0.0}},
    "focal": {"advantage": "focal"},
    "focal_nsr": {
        "advantage": "focal",
        "advantage_options": {"gamma": 0.5, "of": "w_reinforce", "of_options": {"right_weight": 0.0}},
    },
    "differential_smoothing": {"advantage": "differential_smoothing"},
    "ucpo": {"advantage": "ucpo", "advantage_options": {"likelihood": "sum"}},
    "unlikeliness": {"advantage": "unlikeliness"},
}


def metrics_of(path: Path, kind: str) -> list[dict[str, Any]]:
    return [record for record in RunDirectory.open(path).metrics.read() if record["kind"] == kind]


@pytest.mark.parametrize("rl", ESTIMATORS.values(), ids=ESTIMATORS)
def test_every_estimator_trains_and_sps_composes(tmp_path: Path, rl: dict[str, Any]) -> None:
    live(tiny_recipe(rl=rl), tmp_path)
    steps = metrics_of(tmp_path, "rl")
    assert len(steps) == 4
    assert all(record["updated"] == (record["informative_groups"] > 0) for record in steps)
    assert any(record["updated"] and record["grad_norm"] > 0 for record in steps)
    assert [record["num_demonstrations"] > 0 for record in metrics_of(tmp_path, "irl")] == [True]
    assert {record.get("num_groups_below_k") for record in steps} == (
        {0} if rl["advantage"] in ("pass_at_k", "pkpo") else {None}
    )


def test_where_every_group_trains_dynamic_sampling_draws_nothing_more(tmp_path: Path) -> None:
    for name, resampled in (("w_reinforce", False), ("max_rl", True)):
        live(tiny_recipe(rl={"advantage": name, "dynamic_sampling": {"max_resample_times": 1}}), tmp_path / name)
        steps = metrics_of(tmp_path / name, "rl")
        assert any(record["num_resamples"] for record in steps) == resampled
        assert {record["informative_groups"] for record in steps if record["num_groups"]} == {1.0}


@pytest.mark.parametrize(
    ("rl", "message"),
    [
        ({"advantage": "pass_at_k", "advantage_options": {"k": 9}}, "k is 9; .* to the size of a group, 4"),
        (
            {"advantage": "ucpo", "overlong": {"soft_cache_length": 4}},
            "of 0 and 1 alone; set rl.overlong to null",
        ),
        ({"advantage": "focal", "advantage_options": {"of": "nobody"}}, r"rl\.advantage_options\.of is 'nobody'"),
        ({"advantage": "unlikeliness", "advantage_options": {"b": 1}}, "its options are: beta"),
    ],
)
def test_what_does_not_fit_is_said_before_training(rl: dict[str, Any], message: str) -> None:
    recipe = tiny_recipe(rl=rl)
    with pytest.raises(UserError, match=message):
        rehearse(recipe, load_parts(recipe))
