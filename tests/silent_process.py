"""One of two processes that meet, of which number ``sys.argv[1]`` is stopped.

With ``busy``, process 1 only takes long; with ``fails``, it raises an error; with ``mistake``, the main one finds one.
"""

import os
import signal
import sys
import time

from unsqueeze.distributed import pulse
from unsqueeze.distributed.join import AlreadyTold, exit_after, joined
from unsqueeze.errors import RunError, UserError

pulse.PULSE_S, pulse.SILENCE_S = 0.2, 10.0


def find_a_mistake() -> None:
    raise UserError("there is a mistake")


def main(fate: str) -> None:
    if fate == "mistake":
        pulse.PULSE_S = 1e-4  # whenever a process ends, its pulse is on its way
    with joined() as processes:
        if str(processes.rank) == fate:
            os.kill(os.getpid(), signal.SIGSTOP)
        if fate == "fails" and processes.rank == 1:
            raise RunError("process 1 has had enough")
        if fate == "mistake":
            processes.on_main(find_a_mistake)
        if fate == "busy" and processes.rank == 1:
            import torch

            deadline = time.monotonic() + 2 * pulse.SILENCE_S
            while time.monotonic() < deadline:
                torch.randn(500, 500) @ torch.randn(500, 500)
        processes.gather(None)


def tell() -> None:
    try:
        main(sys.argv[1])
    except (RunError, UserError) as error:
        sys.exit(f"error: {error}")
    except AlreadyTold:
        sys.exit(1)


if __name__ == "__main__":
    exit_after(tell)
