"""SPS inside TRL: what it leaves alone, what it learns from, and that stopping changes nothing."""

import json
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from judged_groups import judged
from trainers.chat_model import EMBEDDED, problems
from trainers.sps_folders import (
    assert_never_stopped,
    assert_replayed,
    furthest,
    loaded,
    phase_again,
    report,
    rows_of,
    same,
    stored,
    weights_of,
)
from unsqueeze.algos.advantages.max_rl import max_rl
from unsqueeze.algos.selection import likelihood
from unsqueeze.algos.surrogate import Surrogate
from unsqueeze.config.irl_settings import IrlSettings
from unsqueeze.config.model_settings import ModelSettings
from unsqueeze.distributed.processes import Processes
from unsqueeze.errors import RunError
from unsqueeze.integrations.inside import PhasesInside
from unsqueeze.policy.policy import Policy

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent
SPS = {"sps_every_steps": 2, "sps_learning_rate": 1e-3, "sps_batch_size": 4, "sps_k": 2}
# Two processes with four responses each generate as much as one with eight, with two each, one group of both.
ONE_PROCESS: dict[str, Any] = {}
TWO_PROCESSES: dict[str, Any] = {"processes": 2, "per_device_train_batch_size": 4, "ddp_backend": "gloo"}
SPLIT_GROUPS: dict[str, Any] = TWO_PROCESSES | {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 1}
GENERATIONS: list[dict[str, Any]] = [{}, {"steps_per_generation": 4, "gradient_checkpointing": True}, TWO_PROCESSES]


def call(
    out: Path, trainer: str, *arguments: object, processes: int = 1, **config: object
) -> subprocess.CompletedProcess[str]:
    many = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    command = [sys.executable, *many, HERE / "sps_run.py", out, trainer, "--config", json.dumps(config), *arguments]
    return subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)


def run(out: Path, trainer: str, *arguments: object, **config: Any) -> Path:
    """TRL in a process of its own: it sets what is global, and warns."""
    done = call(out, trainer, *arguments, **config)
    assert done.returncode == 0, done.stderr[-3000:]
    return out


def logged(out: Path, *names: str) -> list[list[Any]]:
    lines = json.loads((out / "log.json").read_text())
    return [[line.get(name) for name in names] for line in lines if "loss" in line]


def lines_of_phases(out: Path) -> dict[int, int]:
    """The steps whose line of the log tells of a phase, with its number of demonstrations."""
    lines = json.loads((out / "log.json").read_text())
    return {line["step"]: line["sps/num_demonstrations"] for line in lines if "sps/phase" in line and "loss" in line}


@pytest.mark.parametrize("generation", GENERATIONS, ids=["one-step", "four-steps", "two-processes"])
def test_without_irl_steps_it_is_the_plain_trainer(generation: dict[str, Any], tmp_path: Path):
    plain = run(tmp_path / "plain", "plain", **generation)
    sps = run(tmp_path / "sps", "sps", **SPS, sps_steps=0, **generation)
    assert same(weights_of(plain / "final"), weights_of(sps / "final"))
    names = ("loss", "grad_norm", "reward", "step")
    assert logged(plain, *names) == logged(sps, *names)
    assert any(loss for loss, *_ in logged(plain, *names))
    # It did select, and the weights did move from where they began.
    assert report(sps, 1)["num_demonstrations"] > 0 == report(sps, 1)["num_updates"]
    assert not same(weights_of(plain / "final"), weights_of(EMBEDDED))


@pytest.mark.parametrize(
    ("where", "rate", "tolerance"),
    # AdamW divides gradients by their own size: what rounding does to the weights is in proportion to the rate.
    [(ONE_PROCESS, 1e-3, 0.0), (TWO_PROCESSES, 5e-5, 1e-6), (SPLIT_GROUPS, 5e-5, 1e-6)],
    ids=["one-process", "two-processes", "groups-of-both"],
)
def test_a_phase_is_that_of_unsqueeze_on_the_stored_rollouts(
    where: dict[str, Any], rate: float, tolerance: float, tmp_path: Path
):
    before = loaded(run(tmp_path / "plain", "plain", max_steps=2, **where) / "final")
    # Two processes each score their share of what is ranked by the policy as it is.
    rank_by = "present" if where is TWO_PROCESSES else "behaviour"
    out = run(
        tmp_path / "sps", "sps", max_steps=2, **SPS | {"sps_learning_rate": rate, "sps_rank_by": rank_by}, **where
    )
    groups = [group for each in stored(out).values() for group in each]
    present = [likelihood(logp_T) for logp_T in before.logp(rows_of(groups), max_tokens=16384)]
    scores = present if rank_by == "present" else None
    again = phase_again(before, groups, IrlSettings(k=2, learning_rate=rate, batch_size=4), seed=7, scores=scores)
    assert again.num_updates == 4
    assert furthest(weights_of(out / "final"), again.weights) <= tolerance
    told = report(out, 1)
    assert told["nll_before"] == pytest.approx(again.nll_before, abs=1e-6)
    assert told["nll_after"] < told["nll_before"]
    assert (told["step"], told["num_rollouts"], told["num_demonstrations"], told["num_updates"]) == (
        2,
        len(groups) * 4,
        len(groups) * 2,
        4,
    )
    assert len(groups) == (2 if where is SPLIT_GROUPS else 4)


def test_a_phase_trains_lora_and_leaves_its_model_alone(tmp_path: Path):
    plain = run(tmp_path / "plain", "plain", "--lora", max_steps=2)
    out = run(tmp_path / "sps", "sps", "--lora", max_steps=2, **SPS, sps_rank_by="ratio")
    before = Policy.load_adapter(ModelSettings(device="cpu"), plain / "final")
    groups = [group for each in stored(out).values() for group in each]
    # The base policy is the model without its adapter.
    now, base = (one.logp(rows_of(groups), max_tokens=16384) for one in (before, loaded(EMBEDDED)))
    scores = [likelihood(now_T - base_T) for now_T, base_T in zip(now, base, strict=True)]
    assert max(map(abs, scores)) > 1e-4
    again = phase_again(before, groups, IrlSettings(k=2, learning_rate=1e-3, batch_size=4), seed=7, scores=scores)
    ours, theirs = (load_file(one / "final" / "adapter_model.safetensors") for one in (out, plain))
    assert furthest(ours, before.adapter_weights()) == 0.0
    assert furthest(ours, theirs) > 1e-4
    assert report(out, 1)["nll_before"] == pytest.approx(again.nll_before, abs=1e-6)
    assert report(out, 1)["nll_after"] < report(out, 1)["nll_before"]
    assert not (out / "final" / "model.safetensors").exists()


def advantages_of(out: Path, step: int) -> list[float]:
    """The advantages in the table of completions that TRL writes."""
    table = pq.read_table(out / "completions" / f"completions_{step:05d}.parquet")
    found: list[float] = table["advantage"].to_pylist()
    return found


def test_our_estimator_of_grpo_is_what_trl_computes(tmp_path: Path):
    plain = run(tmp_path / "plain", "plain", max_steps=2, log_completions=True)
    ours = {"sps_steps": 0, "sps_advantage": "group_relative"}
    out = run(tmp_path / "sps", "sps", max_steps=2, log_completions=True, **SPS | ours)
    for step in (1, 2):
        assert advantages_of(out, step) == pytest.approx(advantages_of(plain, step), rel=1e-6, abs=1e-6)
    assert any(advantages_of(out, 1) + advantages_of(out, 2))
    assert furthest(weights_of(out / "final"), weights_of(plain / "final")) <= 1e-6


@pytest.mark.parametrize("where", [ONE_PROCESS, SPLIT_GROUPS], ids=["one-process", "groups-of-both"])
def test_the_loss_is_that_of_the_advantages_of_our_estimator(where: dict[str, Any], tmp_path: Path):
    ours = {"sps_steps": 0, "sps_advantage": "max_rl"}
    out = run(tmp_path, "sps", max_steps=3, log_completions=True, **SPS | ours, **where)
    losses = []
    for step, groups in stored(out).items():
        rewards_PG = torch.tensor([[one.verdict.reward for one in group.judgements] for group in groups])
        expected_N = max_rl(judged(rewards_PG), Surrogate()).values.flatten()
        assert advantages_of(out, step) == pytest.approx(expected_N.tolist())
        # At a ratio of 1 the loss of DAPO, TRL's default, is the mean of −A over tokens.
        lengths_N = torch.tensor([len(one.completion.tokens) for group in groups for one in group.rollouts])
        losses.append(-float((expected_N * lengths_N).sum() / lengths_N.sum()))
    assert [loss for (loss,) in logged(out, "loss")] == pytest.approx(losses, abs=1e-4)
    assert max(map(abs, losses)) > 0.01


def test_a_kl_budget_ends_a_phase(tmp_path: Path):
    told = report(run(tmp_path / "budget", "sps", max_steps=2, **SPS, sps_kl_budget=1e-9), 1)
    assert told["num_updates"] == 1
    assert told["kl_moved"] >= 1e-9


def test_every_training_rollout_is_stored_and_none_of_an_evaluation(tmp_path: Path):
    out = run(tmp_path, "sps", "--eval", 8, max_steps=2, **SPS)
    found = stored(out)
    assert {step: [len(group.rollouts) for group in groups] for step, groups in found.items()} == {1: [4, 4], 2: [4, 4]}
    groups = [group for each in found.values() for group in each]
    assert {group.problem.prompt for group in groups} <= set(problems(0, 64))
    policy = loaded(EMBEDDED)
    for group in groups:
        target = group.problem.prompt.split()[1]
        assert group.problem.answer == target
        for rollout, judgement in zip(group.rollouts, group.judgements, strict=True):
            said = rollout.completion
            assert policy.tokenizer.decode(rollout.prompt_tokens, skip_special_tokens=True) == group.problem.prompt
            assert policy.tokenizer.decode(said.tokens, skip_special_tokens=True) == said.text
            assert (said.stop_reason == "eos") == (said.tokens[-1] == policy.tokenizer.eos_token_id)
            assert said.stop_reason in ("eos", "length")
            assert json.loads(judgement.reason) == {"accuracy": float(target in said.text)}
            assert judgement.verdict.reward == float(target in said.text)
    first = [one for group in found[1] for one in group.rollouts]
    for one, logp_T in zip(first, policy.logp(rows_of(found[1]), max_tokens=16384), strict=True):
        assert np.array_equal(one.completion.logp_raw, logp_T)


def test_log_probs_are_stored_at_temperature_1_and_as_sampled(tmp_path: Path):
    # TRL's own are at the temperature of sampling alone, by which the ranking would be another one.
    out = run(tmp_path, "sps", max_steps=1, temperature=0.5, **SPS)
    policy, groups = loaded(EMBEDDED), stored(out)[1]
    said = [one.completion for group in groups for one in group.rollouts]
    for temperature, name in ((1.0, "logp_raw"), (0.5, "logp_behaviour")):
        again = policy.logp(rows_of(groups), max_tokens=16384, temperature=temperature)
        assert all(np.array_equal(getattr(one, name), logp_T) for one, logp_T in zip(said, again, strict=True))
    assert not np.allclose(said[0].logp_raw, said[0].logp_behaviour)


def test_vllm_takes_the_weights_again_after_a_phase(tmp_path: Path):
    from unsqueeze.integrations.hf_trainer import phase_if_due

    policy = loaded(EMBEDDED)
    trainer = SimpleNamespace(
        args=SimpleNamespace(use_vllm=True, bf16=False, steps_per_generation=1, gradient_accumulation_steps=1),
        state=SimpleNamespace(global_step=1, max_steps=2),
        num_iterations=1,
        model=policy.model,
        processing_class=policy.tokenizer,
        _step=1,
        _last_loaded_step=1,
        _metrics={"train": defaultdict(list)},
    )
    phases = PhasesInside(tmp_path, IrlSettings(every_steps=2), seed=0, tokens_per_microbatch=64)
    phases.begin(0, None)
    phase_if_due(trainer, phases)
    assert trainer._last_loaded_step == 1  # nothing was due
    trainer.state.global_step = trainer._step = trainer._last_loaded_step = 2
    phase_if_due(trainer, phases)
    assert trainer._last_loaded_step == -1
    assert trainer._metrics["train"]["sps/num_demonstrations"] == [0.0]


@pytest.mark.parametrize("where", [ONE_PROCESS, TWO_PROCESSES], ids=["one-process", "two-processes"])
def test_stopped_and_resumed_is_never_stopped(where: dict[str, Any], tmp_path: Path):
    config = {**SPS, **where, "sps_every_steps": 3, "max_steps": 7, "save_strategy": "steps", "save_steps": 2}
    whole = run(tmp_path / "whole", "sps", **config)
    again = tmp_path / "again"
    # Stopped in step 5 or later, after a phase: what is of after step 2 is of no use, and stays on the disk.
    shutil.copytree(whole / "sps", again / "sps")
    run(again, "sps", "--resume", whole / "checkpoint-2", **config)
    assert_never_stopped(whole, again, "final")
    assert logged(whole, "loss", "reward", "step") == logged(again, "loss", "reward", "step")
    assert report(whole, 1)["num_rollouts"] == 24
    # A phase on the rollouts since the checkpoint alone would be one on fewer, and nobody would notice.
    elsewhere = call(tmp_path / "elsewhere", "sps", "--resume", whole / "checkpoint-2", **config)
    assert elsewhere.returncode != 0
    assert "goes on with the rollouts of step 1, 2, which are not in" in elsewhere.stderr


@pytest.mark.parametrize("where", [ONE_PROCESS, TWO_PROCESSES], ids=["one-process", "two-processes"])
def test_lora_that_replays_by_ratio_is_stopped_and_resumed_too(where: dict[str, Any], tmp_path: Path):
    replay = {"sps_replay_phases": None, "sps_rank_by": "ratio", "sps_phase_schedule": "linear"}
    config = {**SPS, **replay, **where, "sps_every_steps": 3, "max_steps": 7, "save_strategy": "steps", "save_steps": 2}
    whole = run(tmp_path / "whole", "sps", "--lora", **config)
    again = tmp_path / "again"
    shutil.copytree(whole / "sps", again / "sps")
    run(again, "sps", "--lora", "--resume", whole / "checkpoint-2", **config)
    assert_never_stopped(whole, again, "final")
    assert logged(whole, "loss", "reward", "step") == logged(again, "loss", "reward", "step")
    assert_replayed(whole)


def test_it_goes_on_from_a_checkpoint_of_the_plain_trainer(tmp_path: Path):
    plain = run(tmp_path / "plain", "plain", max_steps=2, save_strategy="steps", save_steps=2)
    out = run(tmp_path / "sps", "sps", "--resume", plain / "checkpoint-2", save_strategy="steps", save_steps=2, **SPS)
    assert (report(out, 1)["step"], report(out, 1)["num_rollouts"]) == (4, 16)
    saved = json.loads((out / "checkpoint-4" / "trainer_state.json").read_text())["stateful_callbacks"]["SPSCallback"]
    assert saved["attributes"]["sps"]["num_phases"] == 1


def test_a_phase_waits_for_the_end_of_a_generation_of_four_steps(tmp_path: Path):
    out = run(tmp_path, "sps", max_steps=12, steps_per_generation=4, **SPS | {"sps_every_steps": 6})
    assert list(stored(out)) == [1, 5, 9]
    # Complete with steps 6 and 12; step 6 is in the middle of a generation, which ends with step 8.
    assert [report(out, number)["step"] for number in (1, 3)] == [8, 12]
    assert [report(out, number)["num_rollouts"] for number in (1, 3)] == [64, 32]
    assert next(iter(lines_of_phases(out).values())) == report(out, 1)["num_demonstrations"]


def test_a_phase_of_passes_over_the_data(tmp_path: Path):
    # 64 problems, 2 a step: an eighth of a pass is 4 steps.
    out = run(tmp_path, "sps", max_steps=5, **SPS | {"sps_every_steps": None, "sps_every_passes": 0.125})
    assert report(out, 1)["step"] == 4
    assert not (out / "sps" / "phases" / "irl-003.json").exists()


def test_processes_with_different_weights_are_noticed(tmp_path: Path):
    class Two(Processes):
        size = 2

        def gather(self, value: Any) -> list[Any]:
            return [value, other or value]

    phases = PhasesInside(tmp_path, IrlSettings(), seed=0, tokens_per_microbatch=64, processes=Two())
    policy, other = loaded(EMBEDDED), b""
    phases._check_equal(policy, 3)
    other = b"weights of another kind"
    with pytest.raises(RunError, match="different weights after the IRL phase of step 3"):
        phases._check_equal(policy, 3)
