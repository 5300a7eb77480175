"""One of two processes that meet, of which number ``sys.argv[1]`` is stopped; with ``busy`` it only takes long."""

import os
import signal
import sys
import time

from unsqueeze.parallel import pulse
from unsqueeze.parallel.join import joined

pulse.PULSE_S, pulse.SILENCE_S = 0.2, 3.0

if __name__ == "__main__":
    with joined() as processes:
        if str(processes.rank) == sys.argv[1]:
            os.kill(os.getpid(), signal.SIGSTOP)
        elif sys.argv[1] == "busy" and processes.rank == 1:
            import torch

            deadline = time.monotonic() + 2 * pulse.SILENCE_S
            while time.monotonic() < deadline:
                torch.randn(500, 500) @ torch.randn(500, 500)
        processes.gather(None)
