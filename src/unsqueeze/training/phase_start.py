"""What is remembered of the moment a phase began, and how the weights have moved since."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from unsqueeze.distributed.sharding import piece
from unsqueeze.policy.policy import Policy
from unsqueeze.training.probe import ProbeSamples, RoundingFloor
from unsqueeze.training.watching import Stopwatch


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PhaseStart:
    """Memory of the moment a phase began, to tell afterwards what it did.

    ``clock`` is when it began, before anything was measured. ``seconds_before`` is the time the phase had taken when
    it was saved, for one that goes on after a stop; ``stopwatch`` adds up what measuring took of it.
    """

    weights: Mapping[str, Tensor]
    samples: ProbeSamples
    floor: RoundingFloor
    greedy_logp: float
    version: int
    clock: float = field(default_factory=time.perf_counter)
    seconds_before: float = 0.0
    stopwatch: Stopwatch = field(default_factory=Stopwatch)

    def seconds_so_far(self) -> float:
        return self.seconds_before + time.perf_counter() - self.clock

    def working_seconds(self) -> float:
        """Return the time so far without what measuring took."""
        return max(0.0, self.seconds_so_far() - self.stopwatch.seconds)


@dataclass(frozen=True, slots=True)
class WeightChange:
    update_norm: float
    relative_update_norm: float
    share_moved: float
    share_moved_bf16: float


def snapshot(policy: Policy) -> dict[str, Tensor]:
    """A copy, in main memory, of this process's piece of every trained weight: all of it, unless it is sharded."""
    return {name: piece(parameter.detach()).to("cpu", copy=True) for name, parameter in policy.trainable()}


@torch.no_grad()
def weight_change(policy: Policy, before: Mapping[str, Tensor]) -> WeightChange:
    """Measure how the trained weights differ from a snapshot of them."""
    squares, reference, moved, moved_bf16, count = 0.0, 0.0, 0.0, 0.0, 0.0
    for name, parameter in policy.trainable():
        now, then = piece(parameter.detach()).cpu(), before[name]
        squares += (now - then).double().square().sum().item()
        reference += then.double().square().sum().item()
        moved += int((now != then).sum())
        moved_bf16 += int((now.bfloat16() != then.bfloat16()).sum())
        count += now.numel()
    if policy.is_sharded:
        sums = policy.processes.sum([squares, reference, moved, moved_bf16, count])
        squares, reference, moved, moved_bf16, count = sums
    norm = squares**0.5
    return WeightChange(norm, norm / max(reference**0.5, 1e-30), moved / count, moved_bf16 / count)
