"""What `unsqueeze eval` costs beyond sampling: judging, storing and statistics, as shares of the time of sampling.

    python benchmarks/evaluation.py --out docs/results/evaluation-overhead.md
    python benchmarks/evaluation.py --model ./smollm2 --turns 1     # also GSM8K, from the folder of UNSQUEEZE_DATA

The real command runs in this process, with a clock around the functions that sample, judge, store and sum up. Waiting
counts: what runs in a thread or in the judge's workers while the engine samples takes CPU time, and no wall time.
Loading the model and reading the problems is neither sampling nor overhead; importing packages is left to a first tiny
run.
`scripts/smollm2_checkpoint.py` makes the model for GSM8K.
"""

import argparse
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from functools import wraps
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

from pages import deliver, made_by, median_and_range

LIMIT = 0.05
STAGES = ("judging", "storing", "statistics")
TIMES = ("sampling", *STAGES, "other")


class Clock:
    """Seconds by stage, of wall and of this process's CPU; a stage inside another counts for the inner one alone.

    A stage in a thread beside the command takes CPU time, and no wall time: the command does not wait for it.
    """

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.cpu: defaultdict[str, float] = defaultdict(float)
        self.calls: Counter[str] = Counter()
        self._inside: list[str] = []
        self._since = (0.0, 0.0)
        self._lock = threading.Lock()
        # The thread that is at a stage, and its CPU time at the beginning.
        self._beside: tuple[int, float] | None = None
        self._took_beside = 0.0

    def around(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def timed(*args: Any, **options: Any) -> Any:
            self.calls[stage] += 1
            in_thread = threading.current_thread() is not threading.main_thread()
            begin, end = (self._begin_beside, self._end_beside) if in_thread else (self._begin, self._end)
            begin(stage)
            try:
                return function(*args, **options)
            finally:
                end(stage)

        return timed

    def _begin(self, stage: str) -> None:
        self._book()
        self._inside.append(stage)

    def _end(self, stage: str) -> None:
        self._book()
        self._inside.pop()

    def _begin_beside(self, stage: str) -> None:
        with self._lock:
            self._beside = threading.get_ident(), time.thread_time()

    def _end_beside(self, stage: str) -> None:
        with self._lock:
            assert self._beside is not None, "no stage in a thread has another inside"
            took = time.thread_time() - self._beside[1]
            self.cpu[stage] += took
            self._took_beside += took
            self._beside = None

    def _cpu_of_the_command(self) -> float:
        """CPU time of the process without that of stages in a thread, as far as they have come."""
        with self._lock:
            under_way = 0.0
            if self._beside is not None:
                thread, begun = self._beside
                under_way = time.clock_gettime(time.pthread_getcpuclockid(thread)) - begun
            return time.process_time() - self._took_beside - under_way

    def _book(self) -> None:
        """Count the time since the last booking for the innermost stage of the command."""
        now = time.perf_counter(), self._cpu_of_the_command()
        if self._inside:
            self.seconds[self._inside[-1]] += now[0] - self._since[0]
            self.cpu[self._inside[-1]] += now[1] - self._since[1]
        self._since = now


class Turn(NamedTuple):
    """What one run of the command took: seconds by stage, of wall and of CPU, calls of the engine, bytes of files."""

    seconds: dict[str, float]
    cpu: dict[str, float]
    calls: int
    size: int


def measure(arguments: list[str]) -> Turn:
    """Run the command once."""
    from unsqueeze.api import evaluating
    from unsqueeze.cli.main import app
    from unsqueeze.evaluation import evaluate
    from unsqueeze.evaluation.eval_directory import EvalDirectory
    from unsqueeze.rollout.hf import HfEngine
    from unsqueeze.store.samples import Samples
    from unsqueeze.verify.countdown import CountdownVerifier
    from unsqueeze.verify.math_verifier import MathVerifier

    clock = Clock()
    places: list[tuple[Any, str, str]] = [
        (HfEngine, "generate", "sampling"),
        (MathVerifier, "verify", "judging"),
        (CountdownVerifier, "verify", "judging"),
        (EvalDirectory, "open", "storing"),
        (Samples, "add", "storing"),
        (Samples, "keys", "storing"),
        (Samples, "merge", "storing"),
        (EvalDirectory, "write_summary", "storing"),
        (evaluate, "summarise_samples", "statistics"),
        (evaluating, "load_model", "loading"),
    ]
    before = [getattr(owner, attribute) for owner, attribute, _ in places]
    for (owner, attribute, stage), function in zip(places, before, strict=True):
        setattr(owner, attribute, clock.around(stage, function))
    begun, cpu = time.perf_counter(), time.process_time()
    try:
        with tempfile.TemporaryDirectory() as folder, redirect_stdout(StringIO()):
            app(["eval", *arguments, "--out", f"{folder}/out"], standalone_mode=False)
            size = sum(path.stat().st_size for path in Path(folder, "out").iterdir())
    finally:
        for (owner, attribute, _), function in zip(places, before, strict=True):
            setattr(owner, attribute, function)
    total, total_cpu = time.perf_counter() - begun, time.process_time() - cpu
    # What no clock stood around (prompts, progress, closing the verifier) is overhead too.
    clock.seconds["other"] = total - sum(clock.seconds.values())
    clock.cpu["other"] = total_cpu - sum(clock.cpu.values())
    return Turn(clock.seconds, clock.cpu, clock.calls["sampling"], size)


def row(name: str, arguments: list[str], turns: int) -> str:
    """A row of the table: medians of several turns, and of shares their range."""
    taken = []
    for _ in range(turns):
        taken.append(measure(arguments))
        print(f"{name}: {dict(taken[-1].cpu)}", file=sys.stderr, flush=True)

    def shares(of: Sequence[dict[str, float]], stages: Sequence[str]) -> list[float]:
        return [100 * sum(times[stage] for stage in stages) / times["sampling"] for times in of]

    seconds, cpu = [turn.seconds for turn in taken], [turn.cpu for turn in taken]
    stored = shares(cpu, STAGES)
    cells = [
        name,
        f"{taken[0].calls}",
        *(
            f"{statistics.median(each[stage] for each in seconds):.2f} / "
            f"{statistics.median(each[stage] for each in cpu):.2f}"
            for stage in TIMES
        ),
        f"{median_and_range(shares(seconds, (*STAGES, 'other')), 1)} %",
        f"{median_and_range(shares(cpu, (*STAGES, 'other')), 1)} %",
        f"{median_and_range(stored, 1)} %{'' if statistics.median(stored) < 100 * LIMIT else ' (over)'}",
        f"{taken[0].size / 1e6:.1f}",
    ]
    return f"| {' | '.join(cells)} |"


def page(rows: list[str], turns: int) -> str:
    return "\n".join(
        [
            "# What an evaluation costs beyond sampling",
            "",
            f"{made_by('torch', 'transformers', 'math-verify', 'pyarrow')} {turns} turn(s): medians, of shares with "
            "[smallest, largest].",
            "",
            "| evaluation | calls of the engine | sampling, s | judging, s | storing, s | statistics, s | other, s "
            "| all overhead, wall | all overhead, CPU | judging, storing, statistics, CPU | files, MB |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
            *rows,
            "",
            "Seconds are wall / CPU of the command's process; shares are of sampling. On a busy machine wall time",
            "tells what else it did, CPU time does not. *Other*: problems and prompts, progress, asking git for the",
            "commit, starting and closing the verifier, waiting for the last to be judged, and of each sample its mean",
            "log-prob. What is judged and stored in a thread beside the drawing takes CPU time, and no wall time. The",
            "judge's workers have CPU time of their own.",
            "",
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", help="a checkpoint for GSM8K; without it, only Countdown is run")
    parser.add_argument("--countdown-n", type=int, default=128, help="samples of each problem of Countdown")
    parser.add_argument("--limit", type=int, default=16, help="problems of GSM8K")
    parser.add_argument("--n", type=int, default=8, help="samples of each problem of GSM8K")
    parser.add_argument("--max-tokens", type=int, default=128, help="longest answer to GSM8K")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--out", type=Path, help="write the page here; otherwise print it")
    options = parser.parse_args()
    measure(["countdown-0.4m", "--task", "countdown", "--limit", "1", "--n", "1"])
    drawn = f"96 × {options.countdown_n} samples, at most 24 tokens"
    flags = ["--task", "countdown", "--n", str(options.countdown_n)]
    rows = [row(f"Countdown, 0.4M parameters, {drawn}", ["countdown-0.4m", *flags], options.turns)]
    if options.model is not None:
        sizes = f"{options.limit} × {options.n} samples, at most {options.max_tokens} tokens"
        flags = ["--limit", str(options.limit), "--n", str(options.n), "--max-tokens", str(options.max_tokens)]
        name = f"GSM8K, {Path(options.model).name}, {sizes}"
        rows.append(row(name, [options.model, "--task", "gsm8k", *flags], options.turns))
    deliver(page(rows, options.turns), options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
