"""Kill a training run at random instants of its life, resume it, and compare every bit with a run never interrupted.

    python benchmarks/crash.py --kills 100 --kills-at-writes 50 --out docs/results/crash-2cores.md

One warm process imports everything and never computes; each life of a run is a forked child of it that trains as
``unsqueeze train --resume`` does. A life ends by SIGKILL, in one of two ways, both seeded:

- at an instant: after a CPU time drawn uniformly from that of the whole run, wherever it then is;
- at a write: before, inside or after the n-th call that changes the disk, n drawn uniformly from all of the run's.

Once a run has come to its end, its weights, optimizers, metrics (timings aside), rollouts, demonstrations and
evaluations are compared with those of the run that was never interrupted. Exit code 1 if anything differs.

With ``--processes 2`` every run is the work of two processes (gloo), which are killed together. A sum of two numbers
does not depend on their order, so the bits must be equal there too.
"""

import argparse
import json
import math
import mmap
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import torch

from unsqueeze.config.load import check_recipe
from unsqueeze.config.recipe import Recipe
from unsqueeze.distributed.join import joined
from unsqueeze.distributed.launch import free_port
from unsqueeze.policy.loading import without_progress_bars
from unsqueeze.progress import Silent, StopRequest
from unsqueeze.rollout.hf import HfEngine
from unsqueeze.store.best import best_checkpoint
from unsqueeze.store.run_directory import RunDirectory
from unsqueeze.training import generate, irl_phase, loop, rl_step
from unsqueeze.training.arms import train_arm
from unsqueeze.verify.countdown import CountdownVerifier

RECIPE: dict[str, Any] = {
    "name": "crash",
    "seed": 5,
    "threads": 1,
    "data": {"kind": "countdown", "num_train": 12, "num_test": 4, "num_validation": 3},
    "rollout": {"max_tokens": 20},
    "rl": {
        "steps": 6,
        "prompts_per_step": 4,
        "group_size": 4,
        "steps_per_generation": 2,
        "dynamic_sampling": {"max_resample_times": 2},
        "kl_coefficient": 0.01,
        "reference": "iteration",
        "learning_rate": 1e-3,
    },
    "irl": {
        "every_steps": 3, "k": 2, "steps": 2, "batch_size": 8, "learning_rate": 1e-3, "optimizer_state": "persistent",
    },
    "evaluation": {"n": 4, "validation_n": 2, "every_steps": 2},
    "checkpoint": {"every_steps": 1, "keep_last": 1, "keep_phase_ends": True},
}  # fmt: skip
"""A run of seconds with everything that could be lost on the way: rollouts kept over steps, dynamic sampling, a
reference that moves, two optimizers with state, evaluations and validations in between, checkpoints that are removed
but for the best and those at phase ends."""


# --- what is going on in a life ----------------------------------------------------------------------------------


class Shared:
    """Memory that a child writes and its parent still reads when the child is dead: where it was, how much it wrote."""

    def __init__(self) -> None:
        self._map = mmap.mmap(-1, 512)

    def clear(self) -> None:
        self._map[:] = bytes(512)

    @property
    def writes(self) -> int:
        return int.from_bytes(self._map[:8], "little")

    @writes.setter
    def writes(self, count: int) -> None:
        self._map[:8] = count.to_bytes(8, "little")

    @property
    def stage(self) -> str:
        return self._map[8:].rstrip(b"\0").decode() or "start-up"

    @stage.setter
    def stage(self, name: str) -> None:
        self._map[8:] = name.encode().ljust(504, b"\0")

    @contextmanager
    def during(self, name: str) -> Iterator[None]:
        before, self.stage = self.stage, name
        yield
        self.stage = before


STAGES = [
    (loop, "evaluate_policy", "evaluating"),
    (loop, "save_checkpoint", "saving a checkpoint"),
    (loop, "start_phase", "measuring for a phase report"),
    (loop, "finish_phase", "measuring for a phase report"),
    (loop, "irl_phase", "between IRL steps"),
    (loop.Training, "rl", "between RL steps"),
    (loop, "resume", "resuming"),
    (loop, "generate", "storing or reading rollouts"),
    (HfEngine, "generate", "generating"),
    (CountdownVerifier, "verify", "judging"),
    (rl_step, "optimizer_step", "in an RL step"),
    (irl_phase, "optimizer_step", "in an IRL step"),
    (generate, "step_batches", "dealing rollouts to steps"),
]


def watch_stages(shared: Shared) -> None:
    """Have each of these functions say in ``shared`` that it is at work."""

    def watched(function: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            outer = shared.stage
            inside_another = outer in ("evaluating", "measuring for a phase report")
            with shared.during(outer if inside_another else name):
                return function(*arguments, **keywords)

        return call

    for owner, attribute, name in STAGES:
        setattr(owner, attribute, watched(getattr(owner, attribute), name))


def watch_writes(shared: Shared, die_at: int | None, rng: random.Random) -> None:
    """Count the calls that change the disk; at number ``die_at``, die before, after, or half through it."""

    def watched(call: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*arguments: Any, **keywords: Any) -> Any:
            shared.writes += 1
            if shared.writes != die_at:
                return call(*arguments, **keywords)
            moment = rng.choice(("before", "after", "inside"))
            if moment == "inside" and call is write:
                descriptor, data = arguments
                write(descriptor, data[: rng.randrange(1, len(data))])
            elif moment == "after":
                call(*arguments, **keywords)
            die()

        return counting

    write = os.write
    for name in ("write", "fsync", "replace", "rename", "ftruncate", "mkdir", "unlink", "rmdir"):
        setattr(os, name, watched(getattr(os, name)))


def die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("a process outlived SIGKILL")


# --- lives -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Death:
    """Where a life was when it ended."""

    how: str
    stage: str


@dataclass
class Record:
    """What came of all lives."""

    deaths: list[Death] = field(default_factory=list)
    runs: int = 0
    resumes_of_runs: list[int] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)

    def count(self, how: str) -> int:
        return sum(death.how == how for death in self.deaths)


class Lives:
    """Lives of runs of one recipe, each a forked child of this process; with several processes, a group of children.

    The first child of a group is the run's main process, the only one that writes. It is watched, and all die with it.
    """

    def __init__(self, recipe: Recipe, num_processes: int = 1) -> None:
        self.recipe = recipe
        self.num_processes = num_processes
        self.shared = Shared()
        self.length_s = 0.0
        """CPU time of the longest life so far."""

    def live(self, path: Path, *, kill_after_s: float | None = None, die_at: int | None = None, seed: int = 0) -> bool:
        """Train in ``path``, from the start or from where it is, to the end (True) or to a violent death (False)."""
        self.shared.clear()
        child = os.fork()
        if child == 0:
            self._train_and_exit(path, die_at, random.Random(seed))
        with suppress(ProcessLookupError, PermissionError):  # the child does the same; whoever is first
            os.setpgid(child, child)
        while kill_after_s is not None and not os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if cpu_seconds(child) >= kill_after_s:
                os.killpg(child, signal.SIGKILL)
                break
            time.sleep(0.002)
        _, status, usage = os.wait4(child, 0)
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        self.length_s = max(self.length_s, usage.ru_utime + usage.ru_stime)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status):
            sys.exit(f"a life in {path} failed by itself, see above")
        return os.WIFEXITED(status)

    def _train_and_exit(self, path: Path, die_at: int | None, rng: random.Random) -> NoReturn:
        os.setpgid(0, 0)
        rank = join_others(self.num_processes) if self.num_processes > 1 else 0
        try:
            if rank == 0:
                watch_stages(self.shared)
                watch_writes(self.shared, die_at, rng)
            with joined() as processes:
                train_arm("crash", self.recipe, path, Silent(), StopRequest(), processes)
        except BaseException:  # noqa: BLE001 - a forked child must never return into its parent's code
            traceback.print_exc()
            os._exit(1)
        os._exit(0)


def join_others(num_processes: int) -> int:
    """Fork the other processes of a run; returns, in each, its rank, and the environment tells where they meet."""
    os.environ |= {"WORLD_SIZE": str(num_processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    place = 0
    for rank in range(1, num_processes):
        if os.fork() == 0:
            place = rank
            break
    os.environ |= {"RANK": str(place), "LOCAL_RANK": str(place)}
    return place


def cpu_seconds(pid: int) -> float:
    """What the process has computed so far; a measure of its progress that other work on the machine does not move."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def kill_and_resume(
    lives: Lives,
    folder: Path,
    rng: random.Random,
    *,
    kills: int,
    kills_at_writes: int,
    minutes: float,
    say: Callable[[str], None],
) -> Record:
    """Whole runs, killed and resumed until each is at its end, until there were as many kills as asked for.

    After ``minutes`` no further run is begun.
    """
    whole = folder / "whole"
    deadline = time.monotonic() + 60 * minutes
    assert lives.live(whole), "nobody kills this one"
    writes = lives.shared.writes
    say(f"a whole run takes {lives.length_s:.1f} s of CPU time and {writes} writes")
    record = Record()
    while time.monotonic() < deadline and (
        record.count("at an instant") < kills or record.count("at a write") < kills_at_writes
    ):
        path = folder / f"run-{record.runs:03d}"
        before = len(record.deaths)
        while True:
            wanted = {"at an instant": kills, "at a write": kills_at_writes}
            how = rng.choice([how for how, count in wanted.items() if record.count(how) < count] or ["not at all"])
            if how == "at an instant":
                finished = lives.live(path, kill_after_s=rng.uniform(0, lives.length_s))
            elif how == "at a write":
                finished = lives.live(path, die_at=rng.randint(1, writes), seed=rng.getrandbits(32))
            else:
                finished = lives.live(path)
            if finished:
                break
            record.deaths.append(Death(how, lives.shared.stage))
        record.runs += 1
        record.resumes_of_runs.append(len(record.deaths) - before)
        found = differences(whole, path)
        record.differences += [f"{path.name}: {difference}" for difference in found]
        say(f"{path.name}: killed {record.resumes_of_runs[-1]} times, {'DIFFERS' if found else 'every bit equal'}")
        if not found:
            shutil.rmtree(path)
    return record


# --- comparison --------------------------------------------------------------------------------------------------


def differences(whole: Path, resumed: Path) -> list[str]:
    """In what a finished run differs from the one that was never interrupted; nothing, if all is well."""
    ours, theirs = RunDirectory.open(whole), RunDirectory.open(resumed)
    found = []

    def compare(what: str, read: Callable[[RunDirectory], Any]) -> None:
        if read(ours) != read(theirs):
            found.append(what)

    compare("metrics", lambda run: [without_timings(line) for line in run.metrics.read()])
    compare("names of files", lambda run: sorted(str(path.relative_to(run.path)) for path in run.path.rglob("*")))
    compare("checkpoints", lambda run: {step: checkpoint_bytes(run, step) for step in run.checkpoints.steps()})
    compare("samples of evaluations", lambda run: {step: run.evals.samples(step) for step in run.evals.steps()})
    compare("summaries", lambda run: [without_timings(run.evals.record(step)) for step in run.evals.steps()])
    compare("validation", lambda run: {step: run.validation.samples(step) for step in run.validation.steps()})
    compare("best checkpoint", best_checkpoint)
    compare("demonstrations", lambda run: {number: run.demos.read(number) for number in run.demos.numbers()})
    compare("rollouts", lambda run: {step: rollout_bits(run, step) for step in run.rollouts.steps()})
    numbers = [group.rollouts[0].group for step in theirs.rollouts.steps() for group in theirs.rollouts.read(step)]
    if numbers != list(range(len(numbers))):
        found.append(f"groups are not each stored once: {numbers}")
    if theirs.journal.read()[-1]["event"] != "finished":
        found.append("the journal does not end with 'finished'")
    return found


def without_timings(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if not key.endswith("_s") and key != "seconds"}


def checkpoint_bytes(run: RunDirectory, step: int) -> dict[str, Any]:
    """The files of a checkpoint, byte for byte; of ``state.json`` all but the seconds, and what follows from them."""
    folder = run.checkpoints.path(step)
    files: dict[str, Any] = {
        str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
    state = json.loads(files.pop("state/state.json"))
    if state["phase_start"]:
        state["phase_start"] = without_timings(state["phase_start"])
        del state["sha256"]["state.json"]
    return files | {"state": state}


def rollout_bits(run: RunDirectory, step: int) -> list[Any]:
    """Everything stored for a step, in values that compare bit for bit."""
    return [
        (
            group.problem,
            judgement,
            (rollout.group, rollout.index, rollout.step, rollout.phase, rollout.policy_version),
            (rollout.prompt_tokens.tobytes(), rollout.completion.tokens.tobytes(), rollout.completion.text),
            (rollout.completion.logp_raw.tobytes(), rollout.completion.logp_behaviour.tobytes()),
            rollout.completion.stop_reason,
        )
        for group in run.rollouts.read(step)
        for rollout, judgement in zip(group.rollouts, group.judgements, strict=True)
    ]


# --- report ------------------------------------------------------------------------------------------------------


def report(record: Record, made: str, seed: int, minutes: float, num_processes: int) -> str:
    """The result as a page of Markdown."""
    hows = [how for how in ("at an instant", "at a write") if record.count(how)]
    by_stage = Counter((death.stage, death.how) for death in record.deaths)
    stages = sorted({death.stage for death in record.deaths})
    kills = ", ".join(f"{record.count(how)} {how}" for how in hows)
    lines = [
        "# Kills at random instants, and what resuming makes of them",
        "",
        f"{made} Seed {seed}, in {minutes:.0f} minutes; {num_processes} process(es) a run, of one thread each.",
        "",
        f"**{len(record.deaths)} kills by SIGKILL ({kills}) over {record.runs} runs, each resumed until it was at its "
        f"end; {len(record.differences)} differences.**",
        "",
        "Compared with a run that was never interrupted, bit for bit: all files of the checkpoints (weights, "
        "optimizers, cursor, exported policy), metrics and summaries (timings aside), rollouts, demonstrations, "
        "samples; and every group stored exactly once, none left out.",
        f"A run was killed up to {max(record.resumes_of_runs)} times. The recipe is at the head of the script.",
        "",
        f"| where the run was | {' | '.join(hows)} |",
        f"| --- |{' ---: |' * len(hows)}",
        *(f"| {stage} | {' | '.join(str(by_stage[stage, how]) for how in hows)} |" for stage in stages),
        "",
        *(f"- {difference}" for difference in record.differences),
    ]
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    from pages import made_by  # tests of other functions load this file alone

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=100, help="kills at random instants")
    parser.add_argument("--kills-at-writes", type=int, default=0, help="kills at random writes")
    parser.add_argument("--processes", type=int, default=1, help="processes of a run, which die together")
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin no further run after this time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="where to write the page; default: only print it")
    arguments = parser.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # threads would not survive a fork
    torch.set_num_threads(1)
    without_progress_bars()
    folder = Path(tempfile.mkdtemp(prefix="crash-"))
    begun = time.monotonic()
    record = kill_and_resume(
        Lives(check_recipe(RECIPE, "crash"), arguments.processes),
        folder,
        random.Random(arguments.seed),
        kills=arguments.kills,
        kills_at_writes=arguments.kills_at_writes,
        minutes=arguments.minutes,
        say=lambda text: print(text, flush=True),
    )
    minutes = (time.monotonic() - begun) / 60
    page = report(record, made_by("torch", "transformers"), arguments.seed, minutes, arguments.processes)
    print(page)
    if arguments.out:
        arguments.out.write_text(page, encoding="utf-8")
    if record.differences:
        sys.exit(f"the runs that differ are in {folder}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
