"""The elastic agent of torchrun, as ``train --processes N`` uses it: it starts the processes, and ends them.

Imports torch; ``launch`` imports this once there is something to start.
"""

import os
import time
from collections.abc import Sequence
from subprocess import Popen

from torch.distributed.elastic.agent.server.api import RunResult, WorkerGroup, WorkerSpec, WorkerState
from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SubprocessContext
from torch.distributed.elastic.rendezvous.static_tcp_rendezvous import StaticTCPRendezvous

GRACE_S = 5
"""Time that the others get to end by themselves once one has ended with an error, and again after SIGTERM."""


class Agent(LocalElasticAgent):
    """An agent that hands on wishes to stop, and gives processes time to end by themselves once one has failed.

    PyTorch's own ends all at the first signal or failure, by SIGTERM and, after 30 seconds, SIGKILL. Ours vote on when
    to stop, and which of them tells of an error is no matter of which ends first.
    """

    def __init__(self, command: Sequence[str], count: int, port: int, wishes: Sequence[int]) -> None:
        """``wishes`` holds the signals that came, and grows with them."""
        meeting = StaticTCPRendezvous("127.0.0.1", port, rank=0, world_size=1, run_id="unsqueeze", timeout=60)
        spec = WorkerSpec(
            role="unsqueeze",
            local_world_size=count,
            entrypoint=command[0],
            args=tuple(each.replace("$", "$$") for each in command[1:]),  # the agent takes them for templates
            rdzv_handler=meeting,
            max_restarts=0,
            monitor_interval=0.05,
        )
        super().__init__(spec, DefaultLogsSpecs(log_dir=os.devnull))  # writes no files: the processes speak themselves
        self._wishes = wishes
        self._handed_on = 0
        self._deadline = 0.0
        self.failed: int | None = None
        """Number of the first process that failed."""

    def exit_code(self, rank: int) -> int:
        """Exit code of a process that has ended; negative where a signal killed it."""
        return self._processes[rank].poll() or 0

    def _monitor_workers(self, worker_group: WorkerGroup) -> RunResult:
        """Look at the processes, as the agent does many times a second, and do first what it would not."""
        self._hand_on_wishes()
        running = any(process.poll() is None for process in self._processes)  # looked at first: none fails unseen
        if self.failed is None:
            self.failed = self._first_failure()
            self._deadline = time.monotonic() + GRACE_S
        if running:
            if self.failed is None or time.monotonic() < self._deadline:
                return RunResult(state=WorkerState.HEALTHY)
            self._context.close(timeout=GRACE_S)
        return super()._monitor_workers(worker_group)

    def _hand_on_wishes(self) -> None:
        """Send SIGTERM: who does not listen yet, or no longer, ends without a word; by SIGINT, with a traceback."""
        if self._handed_on < len(self._wishes):
            self._handed_on = len(self._wishes)
            for process in self._processes:
                process.terminate()  # it alone, and not its group: the verifier's workers are needed until it ends

    def _first_failure(self) -> int | None:
        codes = [(process.poll() or 0, rank) for rank, process in enumerate(self._processes)]
        # A killed process, of negative code, says more than those that noticed its absence.
        return next((rank for code, rank in sorted(codes) if code), None)

    @property
    def _context(self) -> SubprocessContext:
        assert isinstance(self._pcontext, SubprocessContext)  # since the entrypoint is a command
        return self._pcontext

    @property
    def _processes(self) -> "list[Popen[bytes]]":
        handlers = self._context.subprocess_handlers
        return [handlers[rank].proc for rank in range(len(handlers))]
