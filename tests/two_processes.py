"""What the tests of many processes have each of two processes do: ``python tests/two_processes.py FOLDER``.

Gradients, adapters and rounding are those of the embedded model, whole runs those of a random one. The same functions,
called in one process by the tests, give what the two are compared with.
"""

import sys
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from small_runs import judging_by_hash, random_recipe
from unsqueeze.config.irl_settings import IrlSettings
from unsqueeze.config.model_settings import LoraSettings, ModelSettings
from unsqueeze.config.rl_settings import RlSettings
from unsqueeze.config.run_settings import ParallelSettings
from unsqueeze.distributed.join import exit_after, joined
from unsqueeze.distributed.processes import ONE, Processes
from unsqueeze.distributed.sharding import like, piece
from unsqueeze.distributed.stop import SharedStop
from unsqueeze.errors import Interrupted, RunError, UserError
from unsqueeze.policy.batch import Row
from unsqueeze.policy.optimize import StepResult, make_optimizer, optimizer_step
from unsqueeze.policy.policy import Policy
from unsqueeze.progress import Silent
from unsqueeze.rollout.hf import HfEngine
from unsqueeze.rollout.shared import SharedEngine
from unsqueeze.rollout.types import Sampling
from unsqueeze.seeds import prompt_seeds
from unsqueeze.training.arms import train_arm
from unsqueeze.training.irl_phase import irl_updates
from unsqueeze.training.rl_step import surrogate_loss

RL = RlSettings(algorithm="grpo")
RECIPE = random_recipe(
    rl={"steps": 3, "learning_rate": 5e-5, "tokens_per_microbatch": 150, "kl_coefficient": 0.01},
    irl={"learning_rate": 5e-5},
    data={"num_validation": 3},
    evaluation={"validation_n": 2},
    checkpoint={"keep_last": 1},
)
RIVALS = random_recipe(
    rl={
        "steps": 4,
        "learning_rate": 5e-5,
        "tokens_per_microbatch": 150,
        "steps_per_generation": 2,
        "kl_coefficient": 0.01,
        "advantage": "ucpo",
        "covariance": {"rule": "kl_cov", "share": 0.1},
        "adaptive_entropy": {"target": 100.0},
        "dph": {"rollouts": 2, "rows": 5},
        "reset": {"every_steps": 2},
    },
    irl={"every_steps": 2, "learning_rate": 5e-5},
)
"""What of the methods beside SPS chooses among all rows, or is state."""
VARIANTS = {
    "lora": ModelSettings(lora=LoraSettings(rank=2)),
    "checkpointing": ModelSettings(gradient_checkpointing=True),
    "bf16": ModelSettings(compute_dtype="bfloat16"),
}
"""Ways to train beside the plain one."""


def rows(count: int) -> list[Row]:
    """Responses of many lengths with advantages of both signs, weighed as a mean over all their tokens."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(2, 20, size=count)
    return [
        Row(
            prompt_tokens=rng.integers(3, 40, size=rng.integers(4, 12)).astype(np.int32),
            tokens=rng.integers(3, 40, size=length).astype(np.int32),
            weight=1 / int(lengths.sum()),
            advantage=float(rng.choice([-1.0, 0.5])),
            logp_proximal=np.full(length, -3.0, np.float32),
        )
        for length in lengths
    ]


def gradient(policy: Policy, count: int) -> tuple[StepResult, dict[str, torch.Tensor]]:
    """The gradient of an RL step, as what plain gradient descent with step size 1 takes away from the weights."""
    # A generation in which one process has nothing to do must not bring the backward passes out of step.
    engine = SharedEngine(HfEngine(policy.model, policy.tokenizer, gathered=policy.gathered), policy.processes)
    engine.generate([[3, 4, 5]], 1, Sampling(max_tokens=3), seeds=prompt_seeds(0, 1))
    before = policy.full_weights()
    result = optimizer_step(
        policy,
        torch.optim.SGD([parameter for _, parameter in policy.trainable()], lr=1.0),
        rows(count),
        partial(surrogate_loss, settings=RL),
        tokens_per_microbatch=64,
        max_grad_norm=1e9,
    )
    after = policy.full_weights()
    return result, {name: before[name] - after[name] for name in after}


def ratios_before_an_update(policy: Policy) -> list[dict[str, float]]:
    """The metrics of two GSPO steps that move nothing: against their own log-probs, and against those scored before."""
    sampled = [replace(row, logp_proximal=None, logp_behaviour=row.logp_proximal) for row in rows(11)]
    scored = [
        replace(row, logp_proximal=logp_T)
        for row, logp_T in zip(sampled, policy.logp(sampled, max_tokens=64), strict=True)
    ]
    return [
        optimizer_step(
            policy,
            torch.optim.SGD([parameter for _, parameter in policy.trainable()], lr=0.0),
            each,
            partial(surrogate_loss, settings=RlSettings(algorithm="gspo")),
            tokens_per_microbatch=64,
            max_grad_norm=1.0,
        ).metrics
        for each in (sampled, scored)
    ]


def after_irl(policy: Policy) -> dict[str, torch.Tensor]:
    """The weights after an IRL phase of three updates that clips its gradients, with a guard."""
    settings = IrlSettings(learning_rate=1e-5, steps=3, batch_size=5, kl_guard=0.1, max_grad_norm=0.5)
    updates = irl_updates(
        policy,
        settings,
        rows(9),
        optimizer=make_optimizer(policy, settings),
        rng=np.random.default_rng(0),
        tokens_per_microbatch=64,
        kl_moved=lambda: 0.0,
        check_stop=lambda: None,
    )
    assert len(list(updates)) == 3
    return policy.full_weights()


def load(settings: ModelSettings, strategy: Literal["ddp", "fsdp"], processes: Processes) -> Policy:
    """The policy with every adapter moved: those that are zero, as they begin, would hide the gradients of others."""
    torch.manual_seed(0)
    policy = Policy.load(settings, processes, strategy=strategy)
    with torch.no_grad():
        for _, parameter in policy.trainable() if settings.lora else ():
            piece(parameter).add_(piece(like(parameter, 0.02 * torch.randn(parameter.shape))))
    return policy


def variants(strategy: Literal["ddp", "fsdp"], folder: Path, processes: Processes) -> dict[str, Any]:
    """Of each way to train: a gradient of RL, the weights after an IRL phase, and what is exported of them."""
    found: dict[str, Any] = {}
    for name, settings in VARIANTS.items():
        _, found[f"{name}: gradient"] = gradient(load(settings, strategy, processes), 11)
        policy = load(settings, strategy, processes)
        found[f"{name}: ratios"] = ratios_before_an_update(policy)
        found[f"{name}: before IRL"] = policy.full_weights()
        found[f"{name}: after IRL"] = after_irl(policy)
        found[f"{name}: exported"] = {key: weight.clone() for key, weight in policy.exported_weights()}
        if processes.is_main:
            policy.save(folder / name, dtype=torch.float32, weights=found[f"{name}: after IRL"])
    return found


def everything(strategy: Literal["ddp", "fsdp"], folder: Path, processes: Processes) -> dict[str, Any]:
    """All that is compared, from the policy's own arithmetic to a whole run in ``folder``/run."""
    found: dict[str, Any] = {}
    for count in (11, 1):  # with one row, one of two processes has none
        result, found[f"gradient of {count} rows"] = gradient(
            Policy.load(ModelSettings(), processes, strategy=strategy), count
        )
        found[f"result of {count} rows"] = [result.loss, result.grad_norm, *result.metrics.values()]
    policy = Policy.load(ModelSettings(), processes, strategy=strategy)
    found["log-probs"] = policy.logp(rows(5), max_tokens=64)
    found["after IRL"] = after_irl(policy)
    found |= variants(strategy, folder, processes)
    recipe = RECIPE.model_copy(update={"parallel": ParallelSettings(strategy=strategy)})
    train_arm("run", recipe, folder / "run", Silent(), SharedStop(processes), processes)
    rivals = RIVALS.model_copy(update={"parallel": ParallelSettings(strategy=strategy)})
    train_arm("rivals", rivals, folder / "rivals", Silent(), SharedStop(processes), processes)
    return found


class StopAt(SharedStop):
    """Asks to stop once the run in ``path`` has a checkpoint of ``step``."""

    def __init__(self, processes: Processes, path: Path, step: int) -> None:
        super().__init__(processes)
        self._there = path / f"checkpoints/step-{step:06d}"

    def check(self) -> None:
        if self._processes.on_main(self._there.exists):
            raise Interrupted

    def check_alone(self) -> None: ...


def relay(strategy: Literal["ddp", "fsdp"], folder: Path, processes: Processes, stop_at: int) -> None:
    """Go on with the run in ``folder``/relay, or begin it, until it has a checkpoint of step ``stop_at``."""
    path = folder / "relay"
    recipe = RECIPE.model_copy(update={"parallel": ParallelSettings(strategy=strategy)})
    with suppress(Interrupted):
        train_arm("relay", recipe, path, Silent(), StopAt(processes, path, stop_at), processes)


def agreement(processes: Processes) -> dict[str, Any]:
    """What the processes make of an error or a wish to stop that only one of them has."""
    heard: dict[str, Any] = {"sum": processes.sum([1.0, float(processes.rank)])}

    def fails() -> None:
        raise RunError("the disk is full")

    for name, error in (("main alone", None), ("one", UserError("of process 1")), ("stop", Interrupted())):
        try:
            if error is None:
                processes.on_main(fails)
            with processes.agreeing():
                if processes.rank == 1 and error is not None:
                    raise error
        except (UserError, RunError, Interrupted) as raised:
            heard[name] = f"{type(raised).__name__}: {raised}"
    stop = SharedStop(processes)
    stop.check()
    stop.asked = processes.rank == 1
    try:
        stop.check()
    except Interrupted:
        heard["asked one"] = True
    return heard


def main() -> None:
    """Both strategies in turn. In the relay, FSDP2 begins a run, one process alone goes on, and DDP ends it."""
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    with judging_by_hash(), joined() as processes:
        do_everything("fsdp", folder, processes)
        relay("fsdp", folder, processes, 1)
        processes.on_main(lambda: relay("ddp", folder, ONE, 2))
        do_everything("ddp", folder, processes)
        relay("ddp", folder, processes, 99)


def do_everything(strategy: Literal["ddp", "fsdp"], folder: Path, processes: Processes) -> None:
    found = everything(strategy, folder / strategy, processes) | {"agreement": agreement(processes)}
    torch.save(found, folder / strategy / f"found-{processes.rank}.pt")


if __name__ == "__main__":
    exit_after(main)
