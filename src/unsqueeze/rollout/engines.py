"""The engine that a recipe names, on a policy."""

from pathlib import Path

import torch

from unsqueeze.config.recipe import RolloutSettings
from unsqueeze.policy.policy import DTYPES, Policy
from unsqueeze.rollout.hf import HfEngine
from unsqueeze.rollout.shared import MainEngine, SharedEngine
from unsqueeze.rollout.types import Engine


def make_engine(settings: RolloutSettings, policy: Policy) -> Engine:
    """The engine of the settings with the weights of ``policy``, which no step has moved yet.

    Each process samples its share; servers are asked by the main process.
    """
    if policy.processes.size > 1 and settings.engine == "vllm_server":
        return MainEngine(lambda: server_engine(settings, policy), policy.processes)
    engine = own_engine(settings, policy)
    return SharedEngine(engine, policy.processes) if policy.processes.size > 1 else engine


def own_engine(settings: RolloutSettings, policy: Policy) -> Engine:
    """The engine of this process."""
    if settings.engine == "hf":
        return HfEngine(
            policy.model,
            policy.tokenizer,
            max_rows=settings.max_rows,
            autocast_dtype=None if policy.compute_dtype is torch.float32 else policy.compute_dtype,
            gathered=policy.gathered,
        )
    if settings.engine == "vllm_server":
        return server_engine(settings, policy)
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
