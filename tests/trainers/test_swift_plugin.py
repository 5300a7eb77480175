"""SPS inside the real ms-swift: what it leaves alone, what it learns from, and that stopping changes nothing."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainers.chat_model import problems
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
from trainers.swift_commands import NONE, SWIFT, grpo, run_all, save_model_and_data, swift, written
from unsqueeze.algos.selection import likelihood
from unsqueeze.config.irl_settings import IrlSettings
from unsqueeze.config.model_settings import ModelSettings
from unsqueeze.policy.policy import Policy
from unsqueeze.store.demos import read_demos

pytestmark = [pytest.mark.swift, pytest.mark.skipif(not SWIFT, reason=NONE)]
SPS = "every_steps=3 learning_rate=1e-3 batch_size=4 k=2"
WITH = {"callbacks": "sps"}
LORA = {"tuner_type": "lora", "lora_rank": 2, "target_modules": "all-linear"}
REPLAY = f"{SPS} rank_by=ratio replay_phases=null phase_schedule=linear"
FIRST = {"again": "whole", "lora-again": "lora"}
"""Runs that go on, in a folder of their own, with what another one left."""
FOUR_STEPS = {"steps_per_generation": 4, "max_steps": 12, "gradient_checkpointing": "true"}


@dataclass(frozen=True)
class Runs:
    folder: Path
    codes: dict[str, int]

    def __truediv__(self, name: str) -> Path:
        """The output of a run that came to its end."""
        assert self.codes[name] == 0, self.said(name)[-3000:]
        return self.folder / name

    def said(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chat")
    save_model_and_data(folder)
    return folder


@pytest.fixture(scope="module")
def runs(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("swift")
    whole = folder / "whole"
    resumed = WITH | {"max_steps": 7, "resume_from_checkpoint": whole / "checkpoint-2"}
    evaluating = {
        "val_dataset": model / "eval.jsonl",
        "eval_strategy": "steps",
        "eval_steps": 1,
        "eval_on_start": "true",
    }
    asked: dict[str, tuple[str, dict[str, Any]]] = {
        "plain": ("", {}),
        "zero": (f"{SPS} steps=0", WITH),
        "whole": (SPS, WITH | {"max_steps": 7}),
        "again": (SPS, resumed),
        "elsewhere": (SPS, resumed),
        "onto-plain": (SPS, WITH | {"resume_from_checkpoint": folder / "plain" / "checkpoint-2"}),
        "plain-four": ("", FOUR_STEPS),
        "zero-four": (f"{SPS} steps=0", WITH | FOUR_STEPS),
        "four": (SPS.replace("every_steps=3", "every_steps=6"), WITH | FOUR_STEPS),
        "still": ("every_passes=0.0625 steps=1 batch_size=4", WITH | {"learning_rate": 0}),
        "lora": (REPLAY, LORA | WITH | {"max_steps": 7}),
        "lora-again": (
            REPLAY,
            LORA | WITH | {"max_steps": 7, "resume_from_checkpoint": folder / "lora" / "checkpoint-2"},
        ),
        "lora-plain": ("", LORA | {"max_steps": 3}),
        "budget": (f"{SPS} rank_by=ratio kl_budget=1e-9", WITH | {"beta": 0.05, "max_steps": 3}),
        "no-base": (f"{SPS} rank_by=ratio", WITH | {"beta": 0}),
        "captured": (
            "",
            {"callbacks": "sps_capture", "learning_rate": 0, "temperature": 0.7, "max_steps": 2} | evaluating,
        ),
        "two-rewards": ("", WITH | {"reward_funcs": ["target", "short"]}),
        "bfloat16": ("", WITH | {"torch_dtype": "bfloat16"}),
        "misspelt": ("every_step=3", WITH),
        "no-phase": (SPS, {"callbacks": "sps_capture"}),
    }
    codes = run_all(
        [
            {
                "arguments": written(grpo(model, folder / name, **more)),
                "environment": {"UNSQUEEZE_SPS": sps},
                "log": str(folder / f"{name}.log"),
                "copy": [str(folder / FIRST[name] / "sps"), str(folder / name / "sps")] if name in FIRST else [],
            }
            for name, (sps, more) in asked.items()
        ]
    )
    return Runs(folder, dict(zip(asked, codes, strict=True)))


def lines_of(out: Path) -> list[dict[str, Any]]:
    """The lines of the log with a loss, to all digits."""
    last = max(out.glob("checkpoint-*"), key=lambda path: int(path.name.partition("-")[2]))
    state = json.loads((last / "trainer_state.json").read_text())
    return [line for line in state["log_history"] if "loss" in line]


def logged(out: Path, *names: str) -> list[list[Any]]:
    return [[line.get(name) for name in names] for line in lines_of(out)]


def adam_steps(checkpoint: Path) -> set[float]:
    state = torch.load(checkpoint / "optimizer.pt", weights_only=True)["state"]
    return {float(each["step"]) for each in state.values()}


@pytest.mark.parametrize(("plain", "zero", "steps"), [("plain", "zero", 4), ("plain-four", "zero-four", 12)])
def test_without_irl_steps_it_is_the_plain_trainer(plain: str, zero: str, steps: int, runs: Runs, model: Path):
    last = f"checkpoint-{steps}"
    assert same(weights_of(runs / plain / last), weights_of(runs / zero / last))
    names = ("loss", "grad_norm", "reward", "completions/mean_length")
    assert logged(runs / plain, *names) == logged(runs / zero, *names)
    assert len(logged(runs / plain, "loss")) == steps
    assert any(loss for (loss,) in logged(runs / plain, "loss"))
    # It did select, and the weights did move from where they began.
    assert report(runs / zero, 1)["num_demonstrations"] > 0 == report(runs / zero, 1)["num_updates"]
    assert not same(weights_of(runs / plain / last), weights_of(model))


def test_a_phase_is_that_of_unsqueeze_on_the_stored_rollouts(runs: Runs):
    out = runs / "whole"
    groups = [group for step in (1, 2, 3) for group in stored(out)[step]]
    settings = IrlSettings(k=2, learning_rate=1e-3, batch_size=4)
    again = phase_again(loaded(runs / "plain" / "checkpoint-3"), groups, settings, seed=42)
    assert furthest(weights_of(out / "checkpoint-3"), again.weights) == 0
    told = report(out, 1)
    assert told["nll_before"] == pytest.approx(again.nll_before, abs=1e-6)
    assert told["nll_after"] < told["nll_before"]
    names = ("step", "num_rollouts", "num_demonstrations", "num_updates")
    assert [told[name] for name in names] == [3, 24, again.num_demonstrations, again.num_updates] == [3, 24, 12, 4]
    # The trainer logs it with its own line, and its Adam goes on.
    line = next(line for line in lines_of(out) if "sps/phase" in line)
    assert line["sps/nll_before"] == told["nll_before"]
    assert line["step"] == 3
    assert adam_steps(out / "checkpoint-7") == {7.0}


def test_stopped_and_resumed_is_never_stopped(runs: Runs):
    whole, again = runs / "whole", runs / "again"
    assert_never_stopped(whole, again, "checkpoint-7")
    assert logged(whole, "loss", "reward", "step") == logged(again, "loss", "reward", "step")
    assert report(whole, 1)["num_rollouts"] == 24
    # A phase on the rollouts since the checkpoint alone would be one on fewer, and nobody would notice.
    assert runs.codes["elsewhere"] == 2
    assert "goes on with the rollouts of step 1, 2, which are not in" in runs.said("elsewhere")


def test_a_phase_trains_lora_and_is_stopped_and_resumed_too(runs: Runs, model: Path):
    out, plain = runs / "lora", runs / "lora-plain" / "checkpoint-3"
    before = Policy.load_adapter(ModelSettings(device="cpu"), plain)
    groups = [group for step in (1, 2, 3) for group in stored(out)[step]]
    # The base policy is the model without its adapter.
    now, base = (one.logp(rows_of(groups), max_tokens=16384) for one in (before, loaded(model)))
    scores = [likelihood(now_T - base_T) for now_T, base_T in zip(now, base, strict=True)]
    assert max(map(abs, scores)) > 1e-4
    told = report(out, 1)
    assert (told["step"], told["num_rollouts"], told["num_updates"]) == (3, 24, 4)
    assert told["nll_after"] < told["nll_before"]
    moved = furthest(weights_of(out / "checkpoint-3"), weights_of(plain))
    assert moved > 1e-4
    assert not (out / "checkpoint-3" / "model.safetensors").exists()
    assert_never_stopped(out, runs / "lora-again", "checkpoint-7")
    assert_replayed(out)


def test_a_kl_budget_ends_a_phase_and_a_kl_term_has_the_base(runs: Runs):
    told = report(runs / "budget", 1)
    assert told["num_updates"] == 1
    assert told["kl_moved"] >= 1e-9


def test_it_goes_on_from_a_checkpoint_of_the_plain_trainer(runs: Runs):
    told = report(runs / "onto-plain", 1)
    assert (told["step"], told["num_rollouts"]) == (3, 8)


def test_a_phase_waits_for_the_end_of_a_generation_of_four_steps(runs: Runs):
    out = runs / "four"
    assert list(stored(out)) == [1, 5, 9]
    # Complete with steps 6 and 12; step 6 is in the middle of a generation, which ends with step 8.
    assert [report(out, number)["step"] for number in (1, 3)] == [8, 12]
    assert [report(out, number)["num_rollouts"] for number in (1, 3)] == [64, 32]


def test_the_nll_before_a_phase_is_what_the_stored_log_probs_say(runs: Runs):
    # With a learning rate of 0 the weights before the phase are those that sampled.
    out = runs / "still"
    told = report(out, 1)
    assert told["step"] == 2  # 64 problems, 2 a step: a sixteenth of a pass
    chosen = read_demos(out / "sps" / "demos" / "irl-001.parquet")
    assert len(chosen) == told["num_demonstrations"] > 0
    lengths = {
        (one.group, one.index): len(one.completion.tokens)
        for groups in stored(out).values()
        for group in groups
        for one in group.rollouts
    }
    tokens = np.array([lengths[one.group, one.index] for one in chosen])
    mean_logp = np.array([one.mean_logp for one in chosen])
    assert told["nll_before"] == pytest.approx(-float((tokens * mean_logp).sum() / tokens.sum()), abs=1e-4)


def test_every_training_rollout_is_captured_and_none_of_an_evaluation(runs: Runs, model: Path):
    out = runs / "captured"
    found = stored(out)
    assert {step: [len(group.rollouts) for group in groups] for step, groups in found.items()} == {1: [4, 4], 2: [4, 4]}
    groups = [group for each in found.values() for group in each]
    policy = loaded(model)
    logp = {
        temperature: policy.logp(rows_of(groups), max_tokens=16384, temperature=temperature) for temperature in (1, 0.7)
    }
    place = 0
    for group in groups:
        said = json.loads(group.problem.prompt)
        assert [message["role"] for message in said] == ["user"]
        assert said[0]["content"] in problems(0, 64)
        target = said[0]["content"].split()[1]
        assert group.problem.answer == target
        for rollout, judgement in zip(group.rollouts, group.judgements, strict=True):
            completion = rollout.completion
            # One <bos>, that of the template.
            prompt = policy.tokenizer(said[0]["content"], add_special_tokens=False)["input_ids"]
            assert rollout.prompt_tokens.tolist() == [policy.tokenizer.bos_token_id, *prompt]
            assert policy.tokenizer.decode(completion.tokens, skip_special_tokens=True) == completion.text
            is_ended = completion.tokens[-1] == policy.tokenizer.eos_token_id
            assert completion.stop_reason == ("eos" if is_ended else "length")
            assert is_ended or len(completion.tokens) == 24
            assert json.loads(judgement.reason) == {"Target": float(target in completion.text)}
            assert judgement.verdict.reward == float(target in completion.text)
            np.testing.assert_allclose(completion.logp_raw, logp[1][place], atol=1e-4)
            np.testing.assert_allclose(completion.logp_behaviour, logp[0.7][place], atol=1e-4)
            place += 1
    assert not (out / "sps" / "phases").exists()
    # Its own file has evaluations and repetitions, too: 48 rows for these 16.
    rows = [json.loads(line)["prompt"] for line in (out / "completions.jsonl").read_text().splitlines()]
    assert [*map(len, rows)] == [8] * 6


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("two-rewards", "error: there are 2 reward functions (Target, Short); name the one that is above 0"),
        ("bfloat16", "the weights are torch.bfloat16, in which the steps of an IRL phase round to nothing"),
        ("no-base", "rank_by in UNSQUEEZE_SPS is ratio, which compares with the policy before training"),
        ("misspelt", "error: UNSQUEEZE_SPS sets every_step; it takes every_passes, every_steps, k,"),
        (
            "no-phase",
            "error: UNSQUEEZE_SPS sets every_steps, learning_rate, batch_size, k, and --callbacks sps_capture",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(name: str, sentence: str, runs: Runs):
    assert runs.codes[name] == 2
    said = runs.said(name)
    assert sentence in said
    assert "Traceback" not in said[said.index(sentence) :]


@pytest.mark.parametrize("tuner", [{}, LORA], ids=["full", "lora"])
def test_two_processes_by_its_own_launcher(tuner: dict[str, Any], model: Path, tmp_path: Path):
    # Two processes with four answers each generate as much as one with eight.
    both = {"per_device_train_batch_size": 4, "max_steps": 3} | tuner
    swift("rlhf", processes=2, **grpo(model, tmp_path / "plain", **both))
    slow = SPS.replace("1e-3", "5e-5")
    swift("rlhf", sps=slow, processes=2, **grpo(model, tmp_path / "sps", **both, callbacks="sps"))
    groups = [group for each in stored(tmp_path / "sps").values() for group in each]
    assert [len(group.rollouts) for group in groups] == [4] * 6
    settings = IrlSettings(k=2, learning_rate=5e-5, batch_size=4)
    plain = tmp_path / "plain" / "checkpoint-3"
    before = Policy.load_adapter(ModelSettings(device="cpu"), plain) if tuner else loaded(plain)
    again = phase_again(before, groups, settings, seed=42)
    after = before.adapter_weights() if tuner else again.weights
    assert furthest(weights_of(tmp_path / "sps" / "checkpoint-3"), after) <= 1e-6 < furthest(after, weights_of(plain))
    told = report(tmp_path / "sps", 1)
    assert told["nll_before"] == pytest.approx(again.nll_before, abs=1e-6)
    assert (told["num_rollouts"], told["num_updates"]) == (24, 4)
