"""How much memory training takes, measured in a process of its own."""

import subprocess
import sys
from pathlib import Path

LIMIT_GB = 2.0

PROGRAM = """
import sys
sys.argv = ["unsqueeze", *sys.argv[1:]]
from unsqueeze.cli.main import main
try:
    main()
finally:
    # Its own peak: what Linux gives as ru_maxrss begins with that of the process that started it.
    [peak] = [line for line in open("/proc/self/status") if line.startswith("VmHWM:")]
    print("PEAK_KB", peak.split()[1], file=sys.stderr)
"""


def test_steps_of_the_quickstart_stay_under_two_gigabytes(tmp_path: Path):
    """RL steps of 16 × 8 rollouts and an IRL step of 288 demonstrations, with everything that is loaded around them."""
    settings = [
        "arms=null", "rl.steps=6", "irl.every_steps=6", "irl.steps=1", "evaluation.n=8", "data.num_test=16",
        "threads=1",
    ]  # fmt: skip
    flags = [part for setting in settings for part in ("--set", setting)]
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, "train", "quickstart", "--run", "run", *flags],
        cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    peak_kb = int(result.stderr.split("PEAK_KB")[1].split()[0])
    assert peak_kb < LIMIT_GB * 1024**2
