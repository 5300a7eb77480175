"""FSDP2 (``fully_shard``): every process holds a piece of every weight, of its gradient and of its moments.

A *piece* is the plain tensor that one process holds of a weight. Without sharding it is the weight itself, so that all
functions here also serve there. Gathering is a meeting of all processes.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from unsqueeze.distributed.processes import Processes, meeting
from unsqueeze.errors import UserError


def shard(root: nn.Module, layers: Iterable[nn.Module], processes: Processes, device: torch.device) -> None:
    """Shard each of the ``layers`` of ``root``, and what else it holds, over all processes, in place.

    Gradients are summed, not averaged: the weights of the rows hold the denominators. Nothing stays gathered after a
    forward pass, not even the outermost weights, so that between passes every weight is a piece.
    """
    if not hasattr(FSDPModule, "reset_iter_state"):
        raise UserError("parallel.strategy fsdp needs torch 2.13: pip install 'torch==2.13.*', or use ddp.")
    mesh = init_device_mesh(device.type, (processes.size,))
    for module in (*layers, root):
        fully_shard(module, mesh=mesh, reshard_after_forward=True)
    for sharded in sharded_modules(root):
        sharded.set_gradient_divide_factor(1.0)
        sharded.set_force_sum_reduction_for_comms(True)


@contextmanager
def gathered(root: nn.Module) -> Iterator[None]:
    """Every process holds the whole weights for the duration: one gathering, and then no process waits for another."""
    modules = list(sharded_modules(root))
    for module in modules:
        module.set_reshard_after_forward(False, recurse=False)
        with meeting():
            module.unshard()
    try:
        yield
    finally:
        for module in modules:
            module.set_reshard_after_forward(True, recurse=False)
            module.reshard()
        # Forward passes are remembered to gather weights early in the next backward pass. Each process made as many as
        # it had tokens to draw: what they remember must be the same, or they would gather other weights each.
        assert isinstance(root, FSDPModule)
        root.reset_iter_state()


def sharded_modules(root: nn.Module) -> Iterator[FSDPModule]:
    return (module for module in root.modules() if isinstance(module, FSDPModule))


def piece(tensor: Tensor) -> Tensor:
    """Return what this process holds of a tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor, in every process."""
    if not isinstance(tensor, DTensor):
        return tensor
    with meeting():
        return tensor.full_tensor()


def like(parameter: Tensor, full: Tensor) -> Tensor:
    """``full``, which every process has, laid out as ``parameter`` is. No process waits for another."""
    full = full.to(parameter.device)
    if not isinstance(parameter, DTensor):
        return full
    return distribute_tensor(full, parameter.device_mesh, parameter.placements, src_data_rank=None)


def from_piece(parameter: Tensor, own: Tensor) -> Tensor:
    """The tensor, laid out as ``parameter`` is, of which this process holds ``own``."""
    own = own.to(parameter.device)
    if not isinstance(parameter, DTensor):
        return own
    return DTensor.from_local(
        own, parameter.device_mesh, parameter.placements, shape=parameter.shape, stride=parameter.stride()
    )
