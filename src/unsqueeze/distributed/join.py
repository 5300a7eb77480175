"""Becoming one of the processes of a run, as the environment tells: torchrun, Slurm, or ``train --processes``.

torchrun and ``--processes`` set RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT; of srun's variables those of
the job step are read, so that a batch script's own are no reason to wait for others.
"""

import atexit
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn

from unsqueeze.distributed.launch import end_with_launcher
from unsqueeze.distributed.processes import ONE, ManyProcesses, Processes, connection_errors
from unsqueeze.distributed.pulse import shown
from unsqueeze.errors import LostProcessError, RunError, UnsqueezeError, UserError, one_line

PATIENCE = timedelta(minutes=30)
"""Patience of a process with others that live: long enough for one whose rollouts all go to the limit."""

_SIZE, _SLURM_SIZE = "WORLD_SIZE", "SLURM_STEP_NUM_TASKS"

GRACE_S = 20.0
"""Time that a process that lost another waits to be ended by what started it, which can tell the reason."""


@dataclass(frozen=True, slots=True)
class Place:
    """Place of a process: its number of ``size``, and its number on its own machine."""

    rank: int
    size: int
    local_rank: int


class AlreadyTold(Exception):  # noqa: N818
    """The error it comes from is, or will be, told to the user by another process."""


def place_in(environment: Mapping[str, str]) -> Place | None:
    """The place that a launcher gave this process; None where it was started alone. UserError if it makes no sense."""
    names = ("RANK", _SIZE, "LOCAL_RANK")
    if _SIZE not in environment:
        names = ("SLURM_PROCID", _SLURM_SIZE, "SLURM_LOCALID")
        if names[1] not in environment:
            return None
    try:
        rank, size, local_rank = (int(environment.get(name, "0")) for name in names)
        if not 0 <= rank < size or local_rank < 0:
            raise ValueError
    except ValueError:
        found = ", ".join(f"{name}={environment.get(name)}" for name in names)
        raise UserError(
            f"the environment says {found}, which is no place among processes; start this with torchrun, srun or "
            f"--processes, or unset these variables."
        ) from None
    if size == 1:
        return None
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT") if name not in environment]
    if missing:
        raise UserError(
            f"this is one of {size} processes, and {' and '.join(missing)} must say where they meet: export the name "
            f"of the first machine and a free port (docs/distributed.md has the lines for Slurm)."
        )
    return Place(rank, size, local_rank)


@contextmanager
def joined() -> Iterator[Processes]:
    """The processes of this run. What fails in many of them is told by one: the others raise AlreadyTold from it."""
    end_with_launcher()
    place = place_in(os.environ)
    if place is None:
        yield ONE
        return
    store = meet(place)
    processes = ManyProcesses()
    try:
        with shown(store, place.rank, place.size), connection_errors():
            yield processes
            processes.gather(None)  # none leaves, and falls silent, before the others are done
    except UnsqueezeError as error:
        if not is_first_to_tell(store, error):
            raise AlreadyTold from error
        raise
    import torch.distributed as dist

    dist.destroy_process_group()


def exit_after(main: Callable[[], object]) -> NoReturn:
    """Exit when ``main`` has ended, with the code that it asks for, or 0.

    One of several processes does not take Python down. A group of processes outlives ``destroy_process_group`` where a
    mesh or the default of an argument keeps it, and so do its threads: one that drops its last tensor while Python ends
    aborts the process.
    """
    code = 1
    if any(name in os.environ for name in (_SIZE, _SLURM_SIZE)):
        atexit.register(lambda: end_at_once(code))  # the first to be registered is the last to be called
    try:
        main()
        code = 0
    except SystemExit as asked:
        code = asked.code if isinstance(asked.code, int) else int(asked.code is not None)
        raise
    sys.exit(code)


def leave(processes: Processes, code: int) -> NoReturn:
    """Exit; one of several processes at once, since what it has begun with others may never come to its end."""
    if processes.size > 1:
        end_at_once(code)
    sys.exit(code)


def end_at_once(code: int) -> NoReturn:
    """End this process once all that it has printed is written."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def meet(place: Place) -> Any:
    """Start ``torch.distributed``: gloo for what is on the CPU, NCCL where there are GPUs. Returns its store."""
    import torch
    import torch.distributed as dist
    from torch.distributed.rendezvous import rendezvous

    backend = "gloo"
    if torch.cuda.is_available():
        if place.local_rank >= torch.cuda.device_count():
            raise UserError(
                f"process {place.rank} is number {place.local_rank} on its machine, which has "
                f"{torch.cuda.device_count()} GPU(s); start one process a GPU, or set CUDA_VISIBLE_DEVICES= to train "
                f"on the CPU."
            )
        torch.cuda.set_device(place.local_rank)
        backend = "cpu:gloo,cuda:nccl"
    try:
        store, _, _ = next(rendezvous("env://", rank=place.rank, world_size=place.size, timeout=PATIENCE))
        dist.init_process_group(backend, store=store, rank=place.rank, world_size=place.size, timeout=PATIENCE)
    except (RuntimeError, OSError) as error:
        raise RunError(
            f"process {place.rank} of {place.size} found no connection to the others at "
            f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}: {one_line(error)}"
        ) from error
    return store


def is_first_to_tell(store: Any, error: UnsqueezeError) -> bool:
    """Tell whether this process is the one to tell the user of its error."""
    if isinstance(error, LostProcessError):
        import time

        time.sleep(GRACE_S)
    with suppress(RuntimeError):  # whoever kept the store is gone, and has told why
        return bool(store.add("unsqueeze/told", 1) == 1)
    return False
