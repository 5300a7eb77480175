"""The engine that a recipe names, on a policy."""

from collections.abc import Callable
from pathlib import Path

import torch

from unsqueeze.config.rollout_settings import RolloutSettings
from unsqueeze.extensions import ENGINES
from unsqueeze.policy.policy import DTYPES, Policy
from unsqueeze.rollout.hf import HfEngine
from unsqueeze.rollout.shared import MainEngine, SharedEngine
from unsqueeze.rollout.types import Engine


def make_engine(settings: RolloutSettings, policy: Policy) -> Engine:
    """Return the engine of the settings with the weights of ``policy``, which no step has moved yet.

    Each process samples its share; servers are asked by the main process.
    """
    make: Callable[[RolloutSettings, Policy], Engine] = ENGINES.resolve(settings.engine)
    if policy.processes.size == 1:
        return make(settings, policy)
    if make is server_engine:
        return MainEngine(lambda: make(settings, policy), policy.processes)
    return SharedEngine(make(settings, policy), policy.processes)


def hf_engine(settings: RolloutSettings, policy: Policy) -> Engine:
    """Return the engine on the training weights themselves."""
    return HfEngine(
        policy.model,
        policy.tokenizer,
        max_rows=settings.max_rows,
        autocast_dtype=None if policy.compute_dtype is torch.float32 else policy.compute_dtype,
        gathered=policy.gathered,
    )


def vllm_engine(settings: RolloutSettings, policy: Policy) -> Engine:
    """Return vLLM in this process, with a copy of the weights."""
    from unsqueeze.rollout.vllm_engine import VllmEngine

    return VllmEngine(
        policy.path,
        policy.model,
        policy.tokenizer,
        settings.vllm,
        dtype=policy.compute_dtype if settings.vllm.dtype is None else DTYPES[settings.vllm.dtype],
        max_rows=settings.max_rows,
        with_logp_behaviour=settings.temperature != 1,
        trust_remote_code=policy.settings.trust_remote_code,
    )


def server_engine(settings: RolloutSettings, policy: Policy) -> Engine:
    """The engine on the servers of the settings. UserError where they are not what it needs."""
    from unsqueeze.rollout.replicas import Patience, Replicas
    from unsqueeze.rollout.vllm_server import VllmServerEngine

    server = settings.server
    folder = server.weights_folder
    return VllmServerEngine(
        Replicas(server.urls, concurrency=settings.max_rows, patience=Patience(timeout_s=server.timeout_s)),
        server.model,
        policy.model,
        policy.tokenizer,
        folder=None if folder is None else Path(folder),
        dtype=policy.compute_dtype if server.dtype is None else DTYPES[server.dtype],
    )
