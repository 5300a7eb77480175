"""A command as a process of its own, and what it took: CPU time of all its processes, and the most memory of one.

    python benchmarks/launched.py COMMAND …

Linux counts for a new process the memory of the one that started it: this one, run as a script, is small.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Launched:
    """What a command printed and took; ``mb`` are 10^6 bytes."""

    output: str
    cpu: float
    seconds: float
    mb: float


def launched(command: Sequence[str]) -> Launched:
    """Run a command to its end; what it says besides is left out unless it fails."""
    done = subprocess.run([sys.executable, __file__, *command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with status {done.returncode}:\n{done.stderr[-2000:]}")
    return Launched(**json.loads(done.stdout))


def asked(name: str, side: "subprocess.Popen[str]") -> Any:
    """Ask a side, which does its work once for every line that it reads, for its next turn; return what it tells."""
    assert side.stdin is not None
    side.stdin.write("\n")
    side.stdin.flush()
    return told(name, side)


def told(name: str, side: "subprocess.Popen[str]") -> Any:
    """Return what a side tells next."""
    assert side.stdout is not None
    line = side.stdout.readline()
    if not line:
        raise SystemExit(f"{name} ended before its turn; what it said is above")
    return json.loads(line)


def main() -> None:
    begun = time.perf_counter()
    process = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(os.waitstatus_to_exitcode(status) % 256)
    taken = {"cpu": used.ru_utime + used.ru_stime, "seconds": time.perf_counter() - begun}
    print(json.dumps({"output": output, **taken, "mb": used.ru_maxrss * 1024 / 1e6}))


if __name__ == "__main__":
    main()
