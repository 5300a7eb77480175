"""A request to stop that all processes of a run grant together."""

import signal

from unsqueeze.distributed.processes import Processes
from unsqueeze.errors import Interrupted
from unsqueeze.progress import Handler, StopRequest


class SharedStop(StopRequest):
    """A wish to stop that reaches one process of a run is granted by all, at the same step."""

    def __init__(self, processes: Processes) -> None:
        super().__init__()
        self._processes = processes

    def check(self) -> None:
        if self._processes.any(self.asked):
            raise Interrupted

    def check_alone(self) -> None:
        if self.asked:
            raise Interrupted

    def _afterwards(self, handler: Handler) -> Handler:
        # A granted wish needs no second signal, by which the launcher would take this process for one that failed.
        return signal.SIG_IGN if self.asked else handler
