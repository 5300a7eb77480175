"""Our side of ``rl_step.py``: ``python benchmarks/rl_step_ours.py '{"prompts": 16, ...}'``."""

import json
import sys
import tempfile
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import torch

from rl_step_work import Meter, Work, recipe_of
from unsqueeze.distributed.processes import ONE, Processes
from unsqueeze.errors import Interrupted
from unsqueeze.policy.loading import without_progress_bars
from unsqueeze.progress import Silent, StopRequest
from unsqueeze.training.loop import train
from unsqueeze.training.setup import load_parts, open_directory, put_together


class Measured(Silent):
    """Progress of ours that hands every step to the meter, and asks to stop after the last."""

    def __init__(self, meter: Meter) -> None:
        self.stop = StopRequest()
        self.meter = meter

    def step(self, record: Mapping[str, Any]) -> None:
        if record["kind"] != "rl":
            return
        self.meter.add(
            generate_ms=1e3 * record["generate_s"],
            judge_ms=1e3 * record["verify_s"],
            store_ms=1e3 * record["store_s"],
            tokens=record["sampled_tokens"],
        )
        if self.meter.step():
            self.stop.ask()


def ours(work: Work, progress: Measured, folder: Path, processes: Processes = ONE) -> None:
    """A run of our own, every rollout stored, stopped inside its first phase."""
    recipe = recipe_of(work)
    parts = load_parts(recipe, processes)
    with closing(open_directory(recipe, parts, folder / "run")) as directory:
        run = put_together(recipe, parts, directory, progress=progress, stop=progress.stop)
        with suppress(Interrupted):
            train(run, reference=parts.reference)


if __name__ == "__main__":
    work = Work(**json.loads(sys.argv[1]))
    without_progress_bars()
    torch.set_num_threads(work.threads)
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="rl-step-") as temporary:
        ours(work, Measured(Meter(work)), Path(temporary))
