"""One optimizer step over a batch of rows, whatever produced them."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unsqueeze.algos.objectives import LossOutput
from unsqueeze.config.settings import OptimizerSettings
from unsqueeze.device_errors import device_errors
from unsqueeze.distributed.processes import Processes
from unsqueeze.distributed.sharding import whole
from unsqueeze.errors import RunError
from unsqueeze.policy.batch import Row, TokenBatch, in_order, logp_of_rows, rows_of
from unsqueeze.policy.policy import LESS_MEMORY, Policy

Loss = Callable[[Tensor, Tensor, TokenBatch], LossOutput]
"""(logp_policy_NT, entropy_NT, batch) -> loss; entropy is zeros unless asked for.

Sums over parts of a batch must add up to that of the whole."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """Result of one step. ``metrics`` hold the losses' own: means over the tokens of its rows, as each weighs them.

    ``logp`` are the log-probs of every row that the gradient was taken at, where they were to be kept. ``beside_s`` are
    the seconds of the passes over what was learned beside the rows.
    """

    loss: float
    grad_norm: float
    metrics: dict[str, float]
    logp: Sequence[NDArray[np.float32]] = ()
    beside_s: float = 0.0


def make_optimizer(policy: Policy, settings: OptimizerSettings) -> torch.optim.AdamW:
    """AdamW over the trainable weights, with fresh state."""
    return torch.optim.AdamW(
        [parameter for _, parameter in policy.trainable()],
        lr=settings.learning_rate,
        betas=settings.betas,
        eps=settings.epsilon,
        weight_decay=settings.weight_decay,
    )


@device_errors("computing gradients", LESS_MEMORY)
def optimizer_step(
    policy: Policy,
    optimizer: torch.optim.Optimizer,
    rows: Sequence[Row],
    loss: Loss,
    *,
    tokens_per_microbatch: int,
    max_grad_norm: float,
    temperature: float = 1.0,
    with_entropy: bool = False,
    keep_logp: bool = False,
    beside: Sequence[tuple[Sequence[Row], Loss]] = (),
) -> StepResult:
    """Forward and backward over micro-batches, clip the gradient's norm, step, and count one policy version.

    ``beside`` are further rows, each batch of them with a loss and denominators of its own: losses and gradients add
    up. The rows themselves may be none where there are others.

    Each process takes its share of the rows. Their weights hold denominators over all rows, so that gradients, losses
    and metrics add up over processes to those of one.

    Raises RunError, leaving the weights as they were, if the loss or the gradient is not finite.
    """
    optimizer.zero_grad(set_to_none=True)
    total_loss = 0.0
    metrics: dict[str, float] = {}
    kept: dict[int, NDArray[np.float32]] = {}
    if rows:
        total_loss, metrics, kept = backward(
            policy,
            rows,
            loss,
            tokens_per_microbatch=tokens_per_microbatch,
            temperature=temperature,
            with_entropy=with_entropy,
            keep_logp=keep_logp,
        )
    begun = time.perf_counter()
    for part, part_loss in beside:
        more_loss, more_metrics, _ = backward(
            policy, part, part_loss, tokens_per_microbatch=tokens_per_microbatch, temperature=temperature
        )
        total_loss += more_loss
        metrics |= more_metrics
    beside_s = time.perf_counter() - begun if beside else 0.0
    parameters = [parameter for _, parameter in policy.trainable()]
    if not policy.is_sharded:  # FSDP2 sums them in every backward pass
        sum_gradients(parameters, policy.processes)
    grad_norm = whole(torch.nn.utils.clip_grad_norm_(parameters, max_grad_norm)).item()
    if not math.isfinite(total_loss) or not math.isfinite(grad_norm):
        optimizer.zero_grad(set_to_none=True)
        raise RunError(
            f"the loss is {total_loss} and the gradient norm {grad_norm} after {policy.version} optimizer steps; the "
            f"weights were left as they were before this step. A smaller learning rate usually helps."
        )
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    policy.version += 1
    return StepResult(
        total_loss,
        grad_norm,
        metrics,
        in_order(kept, policy.processes) if keep_logp else (),
        beside_s,
    )


def backward(
    policy: Policy,
    rows: Sequence[Row],
    loss: Loss,
    *,
    tokens_per_microbatch: int,
    temperature: float,
    with_entropy: bool = False,
    keep_logp: bool = False,
) -> tuple[float, dict[str, float], dict[int, NDArray[np.float32]]]:
    """Add the gradient of a loss over rows, one at least, by micro-batches: each process that of its share.

    Returns the loss and the means of its metrics over the rows of all processes, and this process's log-probs of its
    own rows where they are to be kept.
    """
    total_loss = 0.0
    total_weight = 0.0
    metrics: dict[str, float] = {}
    kept: dict[int, NDArray[np.float32]] = {}
    for indices in policy.microbatches(rows, max_tokens=tokens_per_microbatch):
        batch = policy.collate(rows_of(indices, rows))
        logp_NT, entropy_NT = policy.logprobs(batch, temperature=temperature, with_entropy=with_entropy)
        output = loss(logp_NT, entropy_NT, batch)
        output.loss.backward()
        if keep_logp:
            kept |= logp_of_rows(indices, rows, logp_NT.detach())
        total_loss += output.loss.item()
        total_weight += output.weight.item()
        for key, value in output.metrics.items():
            metrics[key] = metrics.get(key, 0.0) + value.item()
    total_loss, total_weight, *sums = policy.processes.sum([total_loss, total_weight, *metrics.values()])
    means = {key: value / total_weight for key, value in zip(metrics, sums, strict=True)}
    return total_loss, means, kept


def sum_gradients(parameters: Sequence[nn.Parameter], processes: Processes) -> None:
    """Give every process the sum of all gradients: once a step, after the last micro-batch.

    Torch's own DDP would average, and count forward passes, of which processes have different numbers. A weight that
    has no gradient in any process keeps none; one that has it in some has zeros in the others.
    """
    if processes.size == 1:
        return
    present = processes.sum([float(parameter.grad is not None) for parameter in parameters])
    gradients = []
    for parameter, count in zip(parameters, present, strict=True):
        if count:
            parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            gradients.append(parameter.grad)
    processes.sum_tensors(gradients)
