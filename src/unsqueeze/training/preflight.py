"""Before any training: rehearse what training will do, estimate what it will need, and see whether that is there."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from unsqueeze.config.recipe import Recipe
from unsqueeze.cost.devices import DEVICES, Device
from unsqueeze.cost.estimate import Estimate, Problems, assumed_response, estimate_run
from unsqueeze.cost.memory import layout_for
from unsqueeze.cost.shape import ModelShape, model_shape
from unsqueeze.cost.units import in_bytes
from unsqueeze.cost.workload import Lengths
from unsqueeze.errors import UserError
from unsqueeze.evaluation.unreadable import Unreadable
from unsqueeze.policy.policy import DTYPES
from unsqueeze.progress import Progress, Silent
from unsqueeze.training.rehearsal import rehearse
from unsqueeze.training.saving_rehearsal import rehearse_saving
from unsqueeze.training.setup import Parts

NUM_LONGEST, NUM_SPREAD = 16, 64
"""Prompts whose tokens are counted: those of the most characters, for the longest, and some in regular distances."""


def preflight(
    recipe: Recipe,
    parts: Parts,
    path: Path,
    progress: Progress = Silent(),  # noqa: B008 - stateless
) -> tuple[Estimate, Unreadable]:
    """Find out what can be found out in seconds about a run in the directory ``path``: what it will need, and which
    gold answers cannot be read. UserError or RunError.
    """
    unreadable = rehearse(recipe, parts, progress)
    estimate = estimate_parts(recipe, parts)
    parts.policy.processes.on_main(lambda: check_disk(path, estimate.disk.total))
    rehearse_saving(parts.policy, path, dtype=DTYPES[recipe.checkpoint.dtype])
    return estimate, unreadable


def estimate_parts(recipe: Recipe, parts: Parts) -> Estimate:
    """The estimates for data and model that are loaded, on the device they are on."""
    policy, data = parts.policy, parts.data
    adapters = sum(p.numel() for _, p in policy.trainable()) if policy.has_adapters else 0
    device, on_gpu = device_here(policy.device), policy.device.type == "cuda"
    return estimate_run(
        recipe,
        shape_of(policy.model, without=adapters),
        Problems(train=len(data.train), test=len(data.test), validation=len(data.validation)),
        measure_lengths(recipe, parts),
        device,
        layout_for(recipe, policy.processes.size, on_gpu=on_gpu, device_memory=device.memory),
        judged_in_place=parts.task.judged_in_place,
    )


def shape_of(model: PreTrainedModel, *, without: int = 0) -> ModelShape:
    """The shape of a model of any family; what its configuration does not tell is taken as small as it can be.

    ``without`` parameters, those of adapters, are not counted.
    """
    config = model.config.get_text_config(decoder=True)
    embeddings: Any = model.get_input_embeddings()
    vocabulary, width = embeddings.weight.shape
    names = ("num_key_value_heads", "head_dim", "intermediate_size", "max_position_embeddings")
    known = {name: getattr(config, name, None) for name in names} | {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "num_hidden_layers": getattr(config, "num_hidden_layers", 1),
        "num_attention_heads": getattr(config, "num_attention_heads", 1),
    }
    return model_shape(known, num_parameters=sum(p.numel() for p in model.parameters()) - without)


def device_here(device: torch.device) -> Device:
    """Return what is known of the device: that of its name, an H100 where its name is not known; a CPU with its
    threads.
    """
    if device.type != "cuda":
        cpu, threads = DEVICES["cpu"], torch.get_num_threads()
        return replace(cpu, peak_fp32=threads * cpu.peak_fp32, peak_bf16=threads * cpu.peak_bf16)
    found = torch.cuda.get_device_properties(device)
    known = next((known for key, known in DEVICES.items() if key in found.name.lower()), DEVICES["h100"])
    return replace(known, memory=found.total_memory)


def measure_lengths(recipe: Recipe, parts: Parts) -> Lengths:
    """Lengths of prompts from a few of them; how long responses will be is assumed."""
    problems = [*parts.data.train, *parts.data.test, *parts.data.validation]
    longest = sorted(problems, key=lambda problem: len(problem.prompt))[-NUM_LONGEST:]
    spread = problems[:: max(1, len(problems) // NUM_SPREAD)]
    tokens = {problem.id: len(parts.prompts.tokens(problem)) for problem in (*longest, *spread)}
    expected = parts.task.expected(recipe.data)
    return Lengths(
        longest_prompt=max(tokens.values()),
        mean_prompt=float(np.mean([tokens[problem.id] for problem in spread])),
        longest_response=recipe.rollout.max_tokens,
        mean_response=assumed_response(recipe, None if expected is None else expected.response),
    )


def check_disk(path: Path, needed: int) -> None:
    """UserError if the disk has less room than the run is estimated to need beyond what it has written already."""
    written = sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) if path.exists() else 0
    free = free_space(path)
    if needed - written > free:
        raise UserError(
            f"{path} is estimated to grow by {in_bytes(needed - written)} and its disk has {in_bytes(free)} left: "
            f"make room, name a run directory on another disk, or keep less (checkpoint.keep_last, "
            f"checkpoint.every_steps, checkpoint.dtype=bfloat16)."
        )


def free_space(path: Path) -> int:
    """Bytes free on the disk that a path is on, or will be."""
    there = path.absolute()
    while not there.exists():
        there = there.parent
    return shutil.disk_usage(there).free
