"""The processes of one run, as the rest of the code sees them. With one process nothing here does anything.

Every method is a meeting: all processes call the same ones in the same order, or they wait for each other in vain.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from unsqueeze.errors import Interrupted, LostProcessError, UnsqueezeError, one_line

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")

BUCKET_BYTES = 2**26
"""Gradients are summed in pieces of about this size: few messages, and little memory beside the gradients."""


class Processes:
    """A run on one process; ``ManyProcesses`` is the other kind."""

    rank = 0
    size = 1

    @property
    def is_main(self) -> bool:
        """Tell whether this is the process that writes files and speaks to the user."""
        return self.rank == 0

    def gather(self, value: T) -> list[T]:
        """The ``value`` of every process, in order of rank."""
        return [value]

    def on_main(self, work: Callable[[], T]) -> T:
        """Have the main process alone do ``work``; every process gets what it returned, or the error it raised."""
        return work()

    def sum(self, values: Sequence[float]) -> list[float]:
        """Element by element, the sum over processes."""
        return list(values)

    def any(self, flag: bool) -> bool:
        """Tell whether ``flag`` is set in at least one process."""
        return flag

    def sum_tensors(self, tensors: Iterable["Tensor"]) -> None:
        """Replace every tensor by its sum over processes. All processes have tensors of the same shapes."""

    @contextmanager
    def agreeing(self) -> Iterator[None]:
        """Let each process work alone in the block; an error or a request to stop, in any of them, is raised in all."""
        yield


ONE = Processes()


class ManyProcesses(Processes):
    """A run on the processes of ``torch.distributed``, which has been started by ``parallel.join``."""

    def __init__(self) -> None:
        import torch.distributed as dist

        self.rank = dist.get_rank()
        self.size = dist.get_world_size()

    def gather(self, value: T) -> list[T]:
        import torch.distributed as dist

        values: list[Any] = [None] * self.size
        with meeting():
            dist.all_gather_object(values, value)
        return values

    def on_main(self, work: Callable[[], T]) -> T:
        import torch.distributed as dist

        result: list[Any] = [None, None]
        if self.is_main:
            try:
                result[0] = work()
            except UnsqueezeError as error:
                result[1] = error
        with meeting():
            dist.broadcast_object_list(result, src=0)
        if result[1] is not None:
            raise result[1]
        value: T = result[0]
        return value

    def sum(self, values: Sequence[float]) -> list[float]:
        import torch

        total = torch.tensor(values, dtype=torch.float64)
        self._sum(total)
        return [float(value) for value in total]

    def any(self, flag: bool) -> bool:
        return self.sum([float(flag)])[0] > 0

    def sum_tensors(self, tensors: Iterable["Tensor"]) -> None:
        import torch

        for bucket in buckets(tensors):
            flat = torch.cat([tensor.flatten() for tensor in bucket])
            self._sum(flat)
            for tensor, part in zip(bucket, flat.split([tensor.numel() for tensor in bucket]), strict=True):
                tensor.copy_(part.view_as(tensor))

    @contextmanager
    def agreeing(self) -> Iterator[None]:
        mine: BaseException | None = None
        try:
            yield
        except LostProcessError:
            raise
        except (UnsqueezeError, Interrupted) as error:
            mine = error
        for failure in self.gather(mine):
            if failure is not None:
                raise failure

    def _sum(self, tensor: "Tensor") -> None:
        import torch.distributed as dist

        with meeting():
            dist.all_reduce(tensor)


@contextmanager
def meeting() -> Iterator[None]:
    """Translate what ``torch.distributed`` raises where a process is missing into LostProcessError."""
    try:
        yield
    except RuntimeError as error:  # gloo raises this, NCCL a subclass of it
        raise lost(error) from error


@contextmanager
def connection_errors() -> Iterator[None]:
    """Translate likewise where other work may fail too: FSDP2 gathers weights inside of forward and backward passes."""
    try:
        yield
    except UnsqueezeError:
        raise
    except RuntimeError as error:
        import torch.distributed as dist

        if isinstance(error, dist.DistError) or "gloo" in str(error):
            raise lost(error) from error
        raise


def lost(error: RuntimeError) -> LostProcessError:
    detail = one_line(error, 200)
    return LostProcessError(
        f"another process of this run is gone, or did not answer in time; start the same command again, a training "
        f"with --resume. The connection said: {detail}"
    )


def buckets(tensors: Iterable["Tensor"]) -> Iterator[list["Tensor"]]:
    """The tensors in order, in lists of about BUCKET_BYTES that hold one type each."""
    bucket: list[Tensor] = []
    for tensor in tensors:
        full = sum(other.numel() * other.element_size() for other in bucket) >= BUCKET_BYTES
        if bucket and (full or bucket[0].dtype != tensor.dtype):
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket
