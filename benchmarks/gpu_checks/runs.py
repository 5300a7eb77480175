"""Whole runs on a device, vLLM beside the trainer, and the tests that need a GPU.

Verdicts of these runs are a hash of the response, so that every model has groups with a gradient, whatever it can do.
"""

import math
import resource
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from gpu_checks.setting import BF16_GAP, FP32_GAP, Found, Setting, SkipCheck, draw, needs, scored
from unsqueeze.config.load import check_recipe
from unsqueeze.config.recipe import Recipe
from unsqueeze.config.rollout_settings import VllmSettings
from unsqueeze.errors import Interrupted, MissingExtraError
from unsqueeze.models import embedded_model_path
from unsqueeze.policy.policy import DTYPES, Policy, resolve_model
from unsqueeze.progress import Silent, StopRequest
from unsqueeze.rollout.vllm_engine import VllmEngine, import_vllm
from unsqueeze.tasks.problem import Problem
from unsqueeze.training.loop import train
from unsqueeze.training.phase_report import PhaseReport
from unsqueeze.training.preflight import estimate_parts
from unsqueeze.training.run import Run
from unsqueeze.training.setup import Own, load_parts, open_directory, put_together
from unsqueeze.verify.verifiers import as_verifier

ROOT = Path(__file__).resolve().parents[2]

# Measured memory over that of the plan, beside SLACK_MB for workspaces of the libraries.
MEMORY_RATIOS, SLACK_MB = (0.5, 1.25), 300


def right_by_hash(problem: Problem, response: str) -> bool:
    return zlib.crc32(f"{problem.id}: {response}".encode()) % 3 == 0


def recipe_of(setting: Setting, **sections: Mapping[str, Any]) -> Recipe:
    """Two RL steps on Countdown's prompts, and what ``sections`` change."""
    raw: dict[str, Any] = {
        "name": "gpu-check",
        "seed": 0,
        "model": {"path": setting.model, "device": setting.device, "compute_dtype": setting.dtype},
        "data": {"kind": "countdown", "num_train": 4 * setting.prompts, "num_test": 2},
        "rollout": {"max_tokens": setting.tokens},
        "rl": {
            "steps": 2,
            "prompts_per_step": setting.prompts,
            "group_size": setting.group,
            "learning_rate": 1e-5,
            "tokens_per_microbatch": 8192,
        },
        "evaluation": {"n": 2},
        "checkpoint": {"every_steps": None},
    }
    for name, section in sections.items():
        raw[name] = raw.get(name, {}) | section
    return check_recipe(raw, "gpu-check")


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished run: its lines of metrics, the reports of its phases, and memory by the plan in bytes."""

    lines: Sequence[Mapping[str, Any]]
    reports: Sequence[PhaseReport]
    planned: int


def trained(recipe: Recipe, path: Path, stop: StopRequest | None = None) -> Trained:
    parts = load_parts(recipe, own=Own(verifier=as_verifier(right_by_hash)))
    memory = estimate_parts(recipe, parts).memory
    on_gpu = parts.policy.device.type == "cuda"
    with closing(open_directory(recipe, parts, path)) as directory:
        run: Run = put_together(recipe, parts, directory, progress=Silent(), stop=stop or StopRequest())
        try:
            reports = train(run, reference=parts.reference)
        finally:
            run.engine.close()
            run.verifier.close()
        # What the process itself holds lies outside of PyTorch's allocator.
        return Trained(list(directory.metrics.read()), reports, memory.peak - (memory.process if on_gpu else 0))


def run_once(setting: Setting, **sections: Mapping[str, Any]) -> Trained:
    with scratch() as folder:
        return trained(recipe_of(setting, **sections), folder / "run")


@contextmanager
def scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as folder:
        yield Path(folder)


def rl_step(setting: Setting, *, algorithm: str, lora: bool = False) -> Found:
    """Steps of one algorithm: finite, taken, and nothing clipped where the policy has not moved yet."""
    if lora:
        needs("peft")
    model = {"lora": {"rank": 4, "target_modules": "all-linear"}} if lora else {}
    rl: dict[str, Any] = {"algorithm": algorithm, "kl_coefficient": 0.01 if lora else 0.0}
    if algorithm == "gspo":  # its second step is taken on rollouts of the policy before the first
        rl["steps_per_generation"] = 2
    if algorithm == "dapo":
        rl |= {
            "dynamic_sampling": {"max_resample_times": 1},
            "overlong": {"soft_cache_length": max(1, setting.tokens // 4)},
        }
    lines = [line for line in run_once(setting, model=model, rl=rl).lines if line["kind"] == "rl"]
    losses, norms = [line["loss"] for line in lines], [line["grad_norm"] for line in lines]
    first = lines[0].get("clip_low_share", math.nan) + lines[0].get("clip_high_share", math.nan)
    finite = all(value is not None and math.isfinite(value) for value in losses + norms)
    ok = finite and all(line["updated"] for line in lines) and max(norms) > 0 and first == 0
    says = f"{len(lines)} steps, gradient norms {', '.join(f'{norm:.2g}' for norm in norms if norm is not None)}; "
    numbers = {"losses": losses, "grad_norms": norms, "clip_share_first": first}
    numbers["sampler_outside_clip"] = lines[0].get("sampler_outside_clip")
    return Found(ok, says + f"clipped at the first step: {first:.1%}", numbers)


def irl_phase(setting: Setting) -> Found:
    """RL and IRL: the demonstrations become likelier, the report knows that the policy moved."""
    settings = {"every_steps": 2, "k": 2, "steps": 4, "batch_size": 32, "learning_rate": 1e-4}
    report = run_once(setting, irl=settings).reports[-1]
    ok = report.kind == "irl" and report.nll_after < report.nll_before and not report.did_nothing
    says = f"NLL of the demonstrations {report.nll_before:.3f} to {report.nll_after:.3f}, moved {report.kl_moved:.1e}"
    return Found(ok, says + " nats/token", report.to_json_object())


class StopAfter(StopRequest):
    """Stops a run once a checkpoint of its is there."""

    def __init__(self, checkpoint: Path) -> None:
        super().__init__()
        self.checkpoint = checkpoint

    def check(self) -> None:
        if self.checkpoint.exists():
            raise Interrupted("stopped for the check")


def resume(setting: Setting) -> Found:
    """A run stopped inside of a phase and gone on with, against one that was not."""
    recipe = recipe_of(setting, rl={"steps": 3}, checkpoint={"every_steps": 1})
    with scratch() as folder:
        trained(recipe, folder / "whole")
        try:
            trained(recipe, folder / "cut", StopAfter(folder / "cut" / "checkpoints" / "step-000001"))
            return Found(False, "the run did not stop")
        except Interrupted:
            trained(recipe, folder / "cut")
        last = Path("checkpoints", "step-000003", "policy", "model.safetensors")
        whole, cut = load_file(folder / "whole" / last), load_file(folder / "cut" / last)
    gap = max(float((whole[name].double() - cut[name].double()).abs().max()) for name in whole)
    allowed = 0.0 if setting.device == "cpu" else 1e-4
    bits = "equal to the bit" if gap == 0 else f"at most {gap:.1e} apart"
    return Found(gap <= allowed, f"weights after three steps, stopped and not: {bits}", {"weight_gap": gap})


def memory(setting: Setting) -> Found:
    """The most memory of a run with RL and IRL, against the plan's."""
    if setting.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        left_over = torch.cuda.memory_allocated()
    done = run_once(setting, irl={"every_steps": 2, "k": 2, "steps": 1})
    if setting.device == "cuda":
        measured = torch.cuda.max_memory_allocated() - left_over
    else:
        measured = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ratio, (low, high) = measured / done.planned, MEMORY_RATIOS
    slack = SLACK_MB * 1e6
    within = low * done.planned - slack <= measured <= high * done.planned + slack
    says = f"{measured / 1e9:.2f} GB measured, {done.planned / 1e9:.2f} planned ({ratio:.2f})"
    numbers = {"measured": measured, "planned": done.planned}
    if setting.device == "cpu":
        return Found(True, says + "; of the whole process, so not judged", numbers)
    return Found(within, says, numbers | {"reserved": torch.cuda.max_memory_reserved()})


def vllm(setting: Setting) -> Found:
    """vLLM beside the trainer: log-probs, sleep, new weights, waking."""
    needs_vllm(setting)
    policy = Policy.load(setting.model_settings())
    settings = VllmSettings(gpu_memory_utilization=0.3, max_model_len=1024, enforce_eager=True)
    begun = time.perf_counter()
    engine = VllmEngine(
        resolve_model(setting.model), policy.model, policy.tokenizer, settings, dtype=DTYPES[setting.dtype]
    )
    numbers: dict[str, Any] = {"start_s": time.perf_counter() - begun}

    def gap(version: int) -> float:
        rows, there = draw(engine, policy, setting, seed=version)
        return float(np.abs(scored(policy, rows) - np.concatenate([one.logp_raw for one in there])).mean())

    with closing(engine):
        numbers["gap_before"] = gap(0)
        with torch.no_grad():  # other weights, by so much that the old ones would show
            for _, weight in policy.trainable():
                weight.mul_(0.9)
        policy.version += 1
        free_awake = torch.cuda.mem_get_info()[0] if setting.device == "cuda" else 0
        engine.rest()
        numbers["freed_gb"] = (torch.cuda.mem_get_info()[0] - free_awake) / 1e9 if setting.device == "cuda" else 0.0
        begun = time.perf_counter()
        engine.sync(policy)
        numbers["sync_s"] = time.perf_counter() - begun
        numbers["gap_after"] = gap(1)
    allowed = 10 * FP32_GAP if setting.dtype == "float32" else BF16_GAP
    freed = setting.device == "cpu" or numbers["freed_gb"] > 0.5
    says = (
        f"{numbers['gap_before']:.1e} nats/token from the trainer, {numbers['gap_after']:.1e} after new weights "
        f"({numbers['sync_s']:.1f} s); sleeping freed {numbers['freed_gb']:.1f} GB"
    )
    return Found(max(numbers["gap_before"], numbers["gap_after"]) <= allowed and freed, says, numbers)


def vllm_run(setting: Setting) -> Found:
    """A whole run that samples with vLLM, on the same device as it trains."""
    needs_vllm(setting)
    lines = run_once(
        setting,
        rollout={"engine": "vllm", "vllm": {"gpu_memory_utilization": 0.3, "enforce_eager": True}},
        irl={"every_steps": 2, "k": 2, "steps": 1},
    ).lines
    gaps = [line["sampler_gap"] for line in lines if "sampler_gap" in line]
    says = f"{len(lines)} updates, sampler and trainer {max(gaps):.1e} nats/token apart"
    return Found(max(gaps) <= BF16_GAP, says, {"sampler_gaps": gaps})


def needs_vllm(setting: Setting) -> None:
    if resolve_model(setting.model) == str(embedded_model_path()):
        raise SkipCheck("hand another model than the embedded one, whose heads vLLM's kernels do not know")
    try:
        import_vllm()
    except MissingExtraError as error:
        raise SkipCheck(f"vLLM cannot be imported: {str(error)[:160]}") from error


def tests(setting: Setting) -> Found:
    """The project's tests that are marked ``gpu``."""
    needs("pytest")
    if not (ROOT / "tests").is_dir():
        raise SkipCheck("there are no tests beside this script; run it from a checkout")
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", "tests/test_gpu.py"]
    # conftest.py registers hooks of these two.
    needs("beartype")
    needs("hypothesis")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    last = (done.stdout.strip().splitlines() or [done.stderr[-300:]])[-1]
    return Found(
        done.returncode == 0, f"pytest -m gpu: {last}", {"returncode": done.returncode, "tail": done.stdout[-4000:]}
    )
