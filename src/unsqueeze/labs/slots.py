"""Places for runs side by side: cores, or GPUs, and the environment of a process in each."""

import os

from unsqueeze.config.recipe import Recipe


def slots_for(recipe: Recipe, jobs: int | None) -> list[dict[str, str]]:
    """Return the environment of each of ``jobs`` processes; None: one for every GPU there is, else for every core.

    Processes share the GPUs in turn where there are more of them; on a CPU they share the cores.
    """
    gpus = [] if recipe.model.device == "cpu" else _gpus()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = jobs or len(gpus) or cores
    if gpus:
        return [{"CUDA_VISIBLE_DEVICES": gpus[place % len(gpus)]} for place in range(count)]
    threads = str(max(1, cores // count))
    return [{"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads} for _ in range(count)]


def _gpus() -> list[str]:
    """Return the names by which CUDA_VISIBLE_DEVICES knows the GPUs that this process may use."""
    import torch

    count = torch.cuda.device_count()
    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return named[:count] if named else [str(place) for place in range(count)]
