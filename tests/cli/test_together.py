"""`--processes 2` of `select --model` and `irl --into`: what one process gives, to 1e-6, and one message a mistake."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

import unsqueeze as uq
from trainer_files import chat, chat_checkpoint, write_trl
from unsqueeze.distributed.processes import Processes
from unsqueeze.errors import UserError

IRL = ("--steps", "3", "--batch-size", "5", "--learning-rate", "5e-5", "--kl-budget", "10", "--max-tokens", "8")


TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def unsqueeze(*arguments: object, launcher: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *launcher, "-m", "unsqueeze", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trainer's output: rollouts of two log calls, a checkpoint, and one of an adapter on it."""
    folder = tmp_path_factory.mktemp("together")
    for step in (1, 2):
        rows = [
            {"prompt": chat(f"ask {step}{q}"), "completion": "ab" * (1 + g + q) + str(g), "right": float(g == 3)}
            for q in range(3)
            for g in range(4)
        ]
        write_trl(folder, step, rows)
    chat_checkpoint(folder / "checkpoint-2")
    model = AutoModelForCausalLM.from_pretrained(folder / "checkpoint-2")
    torch.manual_seed(0)
    wrapped = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False))
    wrapped.save_pretrained(folder / "adapter-2")
    for name in ("checkpoint-2", "adapter-2"):
        (folder / name / "trainer_state.json").write_text(json.dumps({"global_step": 2}))
        for state in ("optimizer.pt", "scheduler.pt"):
            (folder / name / state).write_bytes(b"state")
    return folder


@pytest.mark.parametrize("by", ["--processes", "torchrun"])
def test_select_chooses_the_same_with_the_same_log_probs(command, folder: Path, tmp_path: Path, by: str):
    asked: list[object] = ["select", folder, "--model", folder / "checkpoint-2", "--max-length", 0, "--out"]
    assert command(*map(str, [*asked, tmp_path / "one.jsonl"]))[0] == 0
    asked.append(tmp_path / "two.jsonl")
    two = unsqueeze(*asked, launcher=TORCHRUN) if by == "torchrun" else unsqueeze(*asked, by, 2)
    assert two.returncode == 0, two.stderr
    ours, theirs = lines(tmp_path / "two.jsonl"), lines(tmp_path / "one.jsonl")
    assert len(theirs) == 18
    for our, their in zip(ours, theirs, strict=True):
        assert our.pop("mean_logp") == pytest.approx(their.pop("mean_logp"), abs=1e-6)
        assert our == their
    # Each line once, by the main process.
    assert two.stderr.count("18 demonstrations") == two.stderr.count("Next:") == two.stderr.count(" …") == 1


@pytest.mark.parametrize("kind", ["checkpoint-2", "adapter-2"])
def test_irl_moves_a_checkpoint_as_one_process_does(command, folder: Path, tmp_path: Path, kind: str):
    demos = tmp_path / "demos.jsonl"
    rows = [{"messages": [*chat(f"q{i}"), {"role": "assistant", "content": "ab" * i}]} for i in range(1, 10)]
    demos.write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = ["irl", "--into", folder / kind, "--demos", demos, *IRL, "--out"]
    assert command(*map(str, [*asked, tmp_path / "one"]))[0] == 0
    two = unsqueeze(*asked, tmp_path / "two", "--processes", 2)
    assert two.returncode == 0, two.stderr
    name = "adapter_model.safetensors" if kind == "adapter-2" else "model.safetensors"
    ours, theirs, before = (load_file(path / name) for path in (tmp_path / "two", tmp_path / "one", folder / kind))
    assert ours.keys() == theirs.keys()
    assert max((ours[key] - theirs[key]).abs().max().item() for key in theirs) <= 1e-6
    assert max((before[key] - theirs[key]).abs().max().item() for key in theirs) > 1e-5
    reports = [json.loads((tmp_path / run / "irl_report.json").read_text()) for run in ("two", "one")]
    for field in ("nll_before", "nll_after", "kl_moved", "greedy_logp_before", "greedy_logp_after", "update_norm"):
        assert reports[0]["report"][field] == pytest.approx(reports[1]["report"][field], rel=1e-4, abs=1e-6)
    assert len(reports[0]["updates"]) == 3
    assert two.stdout.count("updates") == 1


def test_a_mistake_is_told_once(folder: Path, tmp_path: Path):
    found = unsqueeze("irl", "--into", folder / "none", "--demos", "none", "--out", tmp_path / "out", "--processes", 2)
    assert found.returncode == 2
    assert found.stderr.count("error:") == found.stderr.count("no such folder") == 1


def test_processes_that_have_nothing_to_share_are_refused(tmp_path: Path):
    class Two(Processes):
        size = 2

    source = tmp_path / "rollouts.jsonl"
    source.write_text(json.dumps({"problem_id": "p", "prompt": "p", "completion": "c", "reward": 0, "mean_logp": -1.0}))
    for model in ({}, {"model": "countdown-0.4m", "likelihood_under": "behaviour"}):
        with pytest.raises(UserError, match="2 processes share the log-probs of a model, and none are to be computed"):
            uq.select(source, processes=Two(), **model)
