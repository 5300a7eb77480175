"""An RL step shared by more and more processes: CPU time, memory and what they send each other.

    python benchmarks/process_growth.py --out docs/results/process-growth-2cores.md

The step is that of ``rl_step.py`` on our side: the embedded Countdown model, 16 prompts × 8 rollouts of at most 20
tokens, GRPO, every rollout stored. The same work is done by one process, by two, and so on, which hold all weights each
(``parallel.strategy: ddp``), on one thread each, and wait between turns: some steps of one, some of two, … CPU time of
a step is added up over the processes, so that what is done twice shows, whatever else the machine does; time by the
clock is that of the slowest. Memory is the most that a process had, with libraries and the model. What is sent is
counted in one step that is not timed: bytes that a process hands over to be summed or gathered, before gloo passes them
on. With more processes than cores there is nothing to gain; it shows what they cost.
"""

import argparse
import json
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

from launched import told
from pages import deliver, made_by, median_and_range
from rl_step_work import EMBEDDED, Meter, Work
from unsqueeze.distributed.launch import free_port

Turn = list[dict[str, float]]
"""What each process of a group tells of a turn."""


def work_in_turns(work: Work, folder: Path) -> None:
    """What one of the processes does."""
    import torch

    from rl_step_ours import Measured, ours
    from unsqueeze.distributed.join import joined
    from unsqueeze.policy.loading import without_progress_bars

    class Counted(Measured):
        """Counts what is sent in the last step that warms up."""

        steps = sent = 0

        def step(self, record: Mapping[str, Any]) -> None:
            if record["kind"] == "rl":
                self.steps += 1
                if self.steps > work.warm_up:
                    self.meter.add(sent=self.sent)
            super().step(record)

        def count(self, number: Callable[[], int]) -> None:
            if self.steps == work.warm_up - 1:
                self.sent += number()

    without_progress_bars()
    torch.set_num_threads(1)
    progress = Counted(Meter(work))
    with joined() as processes, counting(progress.count):
        ours(work, progress, folder, processes)


@contextmanager
def counting(count: Callable[[Callable[[], int]], None]) -> Iterator[None]:
    """Hand the bytes of whatever is summed, gathered or told to all to ``count``."""
    import torch.distributed as dist

    reduce, gather, broadcast = dist.all_reduce, dist.all_gather_object, dist.broadcast_object_list

    def all_reduce(tensor: Any, *arguments: Any, **keywords: Any) -> Any:
        count(lambda: tensor.numel() * tensor.element_size())
        return reduce(tensor, *arguments, **keywords)

    def all_gather_object(values: Any, value: Any, *arguments: Any, **keywords: Any) -> Any:
        count(lambda: len(pickle.dumps(value)))
        return gather(values, value, *arguments, **keywords)

    def broadcast_object_list(values: Any, *arguments: Any, **keywords: Any) -> Any:
        if dist.get_rank() == 0:
            count(lambda: len(pickle.dumps(values)))
        return broadcast(values, *arguments, **keywords)

    with ExitStack() as stack:
        for function in (all_reduce, all_gather_object, broadcast_object_list):
            stack.enter_context(mock.patch.object(dist, function.__name__, function))
        yield


class Together:
    """Processes that share the work of a step."""

    def __init__(self, number: int, work: Work, folder: Path, stack: ExitStack) -> None:
        place = {"WORLD_SIZE": str(number), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
        command = [sys.executable, __file__, "--part", json.dumps(vars(work)), str(folder)]
        self._processes = [
            stack.enter_context(
                subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    env={**os.environ, "OMP_NUM_THREADS": "1"}
                    | ({} if number == 1 else {**place, "RANK": str(rank), "LOCAL_RANK": str(rank)}),
                )
            )
            for rank in range(number)
        ]
        self._told()  # that they are warm, before others begin

    def turn(self) -> Turn:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        return self._told()

    def _told(self) -> Turn:
        return [told("a process", process) for process in self._processes]


def page(found: Mapping[int, list[Turn]], work: Work) -> str:
    alone = [turn[0]["cpu_ms"] for turn in next(iter(found.values()))]
    rows = []
    for number, turns in found.items():
        together = [sum(each["cpu_ms"] for each in turn) for turn in turns]
        cells = [
            median_and_range(together),
            median_and_range([a / b for a, b in zip(together, alone, strict=True)], 2),
            median_and_range([max(each["step_ms"] for each in turn) for turn in turns]),
            median_and_range([each["peak_mb"] for each in turns[-1]]),
            f"{statistics.fmean(each['sent'] for each in turns[-1]) / 1e3:,.0f}",
            f"{turns[-1][0]['tokens']:,.0f}",
        ]
        rows.append(f"| {number} | {' | '.join(cells)} |")
    return "\n".join(
        [
            "# An RL step shared by processes",
            "",
            f"{made_by('torch', 'transformers')} {work.turns} turns of {work.steps} steps after {work.warm_up} that "
            f"warm up; {work.prompts} prompts × {work.group_size} responses of at most {work.max_tokens} tokens. The "
            "script says what is measured; medians [smallest, largest].",
            "",
            "| processes | a step, CPU ms of all | times that of one | a step, ms | MB at the peak, of each | kB sent "
            "by each | tokens drawn |",
            "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
            *rows,
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20, help="steps of a turn")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--out", type=Path, help="the page to write; without it, it is printed")
    parser.add_argument("--part", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        work_in_turns(Work(**json.loads(arguments.part[0])), Path(arguments.part[1]))
        return
    work = replace(EMBEDDED, turns=arguments.turns, steps=arguments.steps)
    found: dict[int, list[Turn]] = {number: [] for number in arguments.processes}
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="process-growth-") as folder, ExitStack() as stack:
        groups = {number: Together(number, work, Path(folder, str(number)), stack) for number in found}
        for _ in range(work.turns):
            for number, turns in found.items():
                turns.append(groups[number].turn())
                told = ", ".join(f"{each['cpu_ms']:.0f}" for each in turns[-1])
                print(f"{number} process(es): {told} CPU ms a step", file=sys.stderr, flush=True)
    deliver(page(found, work), arguments.out)


if __name__ == "__main__":
    main()
