"""Algorithm 1 as it runs: phases in order, everything on disk, equal bits from equal seeds, and resuming.

None of this depends on what the model can do, and all runs are those of a random one (see ``small_runs``). The embedded
model is trained by the real command in ``cli/test_train.py``, ``distributed/test_launcher.py`` and ``test_wheel.py``.
"""

from pathlib import Path

import pytest
import torch

from small_runs import StopAfter, prepare, random_recipe, run_to_end, weights, without_timings
from unsqueeze.progress import Interrupted
from unsqueeze.store.run_directory import RunDirectory
from unsqueeze.training.loop import train

pytestmark = pytest.mark.usefixtures("judged_by_hash")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory):
    """One small SPS run: five RL steps in phases of two, an IRL phase after each that is complete."""
    return run_to_end(random_recipe(), tmp_path_factory.mktemp("runs") / "sps")


def equal_weights(one, other) -> bool:
    ours, theirs = weights(one), weights(other)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_phases_alternate_and_cover_every_step(finished):
    _, reports = finished
    assert [(report.kind, report.first_step, report.last_step) for report in reports] == [
        ("rl", 1, 2),
        ("irl", 1, 2),
        ("rl", 3, 4),
        ("irl", 3, 4),
        ("rl", 5, 5),
    ]
    assert all(report.num_updates > 0 for report in reports)
    irl = [report for report in reports if report.kind == "irl"]
    assert all(report.num_updates == 2 for report in irl)
    assert all(report.share_moved > 0.5 and report.kl_moved > 0 for report in irl)
    # NLL is what the phase descends on, with a step size far above the noise: it must fall on the phase's own batch.
    assert all(report.nll_after < report.nll_before for report in irl)


def test_everything_is_on_disk(finished):
    run, _ = finished
    directory = RunDirectory.open(run.directory.path)
    assert directory.rollouts.steps() == [1, 2, 3, 4, 5]
    groups = directory.rollouts.read(3)
    assert len(groups) == 4
    assert all(len(group.rollouts) == 4 for group in groups)
    # Two RL updates at most, then two of IRL, were behind the policy that sampled step 3.
    versions = {rollout.policy_version for group in groups for rollout in group.rollouts}
    events = directory.journal.read()
    irl_end = next(event for event in events if event["event"] == "phase_finished" and event["kind"] == "irl")
    began = next(event for event in events if event["event"] == "phase_started" and event["phase"] == 2)
    assert versions == {began["policy_version"]}
    assert began["policy_version"] >= irl_end["num_updates"] == 2
    assert directory.demos.numbers() == [1, 3]
    assert directory.evals.steps() == [0, 5]
    assert directory.checkpoints.steps() == [1, 2, 3, 4, 5]
    metrics = directory.metrics.read()
    assert [record["kind"] for record in metrics] == ["rl", "rl", "irl", "irl"] * 2 + ["rl"]


def test_the_exported_policy_is_the_one_in_training(finished):
    run, _ = finished
    from transformers import AutoModelForCausalLM

    path = run.directory.checkpoints.path(5) / "policy"
    exported = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    trained = dict(run.policy.model.named_parameters())
    assert all(torch.equal(parameter, trained[name]) for name, parameter in exported.named_parameters())


def test_equal_seeds_give_equal_bits(finished, tmp_path: Path):
    run, _ = finished
    again, _ = run_to_end(random_recipe(), tmp_path / "again")
    assert equal_weights(run, again)
    assert without_timings(run.directory.metrics.read()) == without_timings(again.directory.metrics.read())


def test_another_seed_gives_another_run(finished, tmp_path: Path):
    run, _ = finished
    other, _ = run_to_end(random_recipe(seed=4), tmp_path / "other")
    assert not equal_weights(run, other)


def test_no_irl_steps_equal_plain_rl(tmp_path: Path):
    """Reduction: IRL phases of zero steps change no bit of the control run, the phase boundaries notwithstanding."""
    control, _ = run_to_end(random_recipe(irl=None), tmp_path / "control")
    idle, reports = run_to_end(random_recipe(irl={"steps": 0}), tmp_path / "idle")
    assert equal_weights(control, idle)
    losses = [record["loss"] for record in control.directory.metrics.read()]
    assert losses == [record["loss"] for record in idle.directory.metrics.read()]
    assert all(report.did_nothing for report in reports if report.kind == "irl")


def test_microbatches_change_nothing_but_rounding(finished, tmp_path: Path):
    run, _ = finished
    split, _ = run_to_end(random_recipe(rl={"tokens_per_microbatch": 60}), tmp_path / "split")
    ours, theirs = run.directory.metrics.read(), split.directory.metrics.read()
    # The first update sees the same weights and rollouts; its gradient may differ by rounding alone.
    assert theirs[0]["grad_norm"] == pytest.approx(ours[0]["grad_norm"], rel=1e-5)
    assert theirs[0]["loss"] == pytest.approx(ours[0]["loss"], rel=1e-5, abs=1e-7)


@pytest.mark.parametrize(("checks", "every_steps"), [(0, 1), (7, 1), (14, 2), (14, None), (18, 1)])
def test_a_stopped_run_goes_on_as_if_it_never_stopped(finished, tmp_path: Path, checks: int, every_steps: int | None):
    whole, _ = finished
    recipe = random_recipe(checkpoint={"every_steps": every_steps})
    run, reference = prepare(recipe, tmp_path / "run", stop=StopAfter(checks))
    with pytest.raises(Interrupted):
        train(run, reference=reference)
    run.directory.close()

    resumed, _ = run_to_end(recipe, tmp_path / "run")

    assert equal_weights(whole, resumed)
    assert without_timings(whole.directory.metrics.read()) == without_timings(resumed.directory.metrics.read())
    ours, theirs = last_reports(resumed), last_reports(whole)
    assert ours.keys() == theirs.keys()
    for phase, report in ours.items():
        assert report["kl_moved"] == theirs[phase]["kl_moved"]
        assert report["update_norm"] == theirs[phase]["update_norm"]


def last_reports(run) -> dict[int, dict]:
    """The last report of each phase: one that was under way at a stop may be told twice."""
    events = run.directory.journal.read()
    return {event["phase"]: event for event in events if event["event"] == "phase_finished"}


@pytest.mark.parametrize(
    ("algorithm", "overrides"),
    [("dapo", {}), ("gspo", {}), ("dr_grpo", {}), ("grpo", {"kl_coefficient": 0.1, "entropy_coefficient": 0.01})],
)
def test_every_named_algorithm_trains(tmp_path: Path, algorithm: str, overrides: dict):
    before, _ = prepare(random_recipe(), tmp_path / "before")
    run, reports = run_to_end(
        random_recipe(rl={"algorithm": algorithm, "steps": 2, **overrides}, irl=None), tmp_path / algorithm
    )
    assert not equal_weights(before, run)
    assert reports[0].num_updates >= 1


def test_steps_per_generation_share_the_sampling_policy(tmp_path: Path):
    """Four steps from one generation; the RL phase of five steps ends in a generation of one."""
    run, _ = run_to_end(random_recipe(rl={"steps_per_generation": 4}, irl=None), tmp_path / "gspo")
    assert run.directory.rollouts.steps() == [1, 5]
    first, last = run.directory.rollouts.read(1), run.directory.rollouts.read(5)
    assert (len(first), len(last)) == (16, 4)
    assert {rollout.policy_version for group in first for rollout in group.rollouts} == {0}
    records = run.directory.metrics.read()
    assert [record["num_groups"] for record in records] == [4] * 5
    assert [record["num_sampled"] for record in records] == [16] * 5
    # Every problem of the stream is used once: 20 of two passes over 12.
    numbers = [group.rollouts[0].group for group in first + last]
    assert numbers == list(range(20))


@pytest.mark.parametrize("rule", ["keep", "ms_swift"])
def test_dynamic_sampling_trains_on_informative_groups(tmp_path: Path, rule: str):
    rl = {"steps": 3, "dynamic_sampling": {"max_resample_times": 2, "rule": rule}}
    run, _ = run_to_end(random_recipe(rl=rl, irl=None), tmp_path / rule)
    records = run.directory.metrics.read()
    assert any(record["num_resamples"] > 0 for record in records)
    if rule == "keep":
        assert all(record["informative_groups"] == 1.0 for record in records if record["num_groups"])
        assert all(record["num_informative_lost"] == 0 for record in records)
    assert all(record["num_groups"] + record["num_missing"] >= 4 for record in records)


def test_dynamic_sampling_goes_on_after_a_stop(tmp_path: Path):
    rl = {"steps": 4, "steps_per_generation": 2, "dynamic_sampling": {"max_resample_times": 2}}
    recipe = random_recipe(rl=rl, checkpoint={"every_steps": 1})
    whole, _ = run_to_end(recipe, tmp_path / "whole")
    run, reference = prepare(recipe, tmp_path / "run", stop=StopAfter(12))
    with pytest.raises(Interrupted):
        train(run, reference=reference)
    run.directory.close()
    resumed, _ = run_to_end(recipe, tmp_path / "run")
    assert equal_weights(whole, resumed)
    assert without_timings(whole.directory.metrics.read()) == without_timings(resumed.directory.metrics.read())


def test_lora_trains_adapters_and_exports_them_merged(tmp_path: Path):
    recipe = random_recipe(model={"lora": {"rank": 4}}, rl={"steps": 2, "kl_coefficient": 0.1})
    run, reports = run_to_end(recipe, tmp_path / "lora")
    assert reports[0].num_updates >= 1
    names = [name for name, _ in run.policy.trainable()]
    assert names
    assert all("lora" in name for name in names)
    from transformers import AutoModelForCausalLM

    exported = AutoModelForCausalLM.from_pretrained(run.directory.checkpoints.path(2) / "policy", dtype=torch.float32)
    assert not any("lora" in name for name, _ in exported.named_parameters())
    tokens = torch.tensor([run.prompt_tokens(run.test_problems[0])])
    with torch.no_grad():
        assert torch.allclose(exported(tokens).logits, run.policy.model(tokens).logits, atol=1e-5)
        with run.policy.without_adapters():
            assert not torch.allclose(exported(tokens).logits, run.policy.model(tokens).logits, atol=1e-5)
