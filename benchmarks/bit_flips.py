"""Flip random bits in the files of a finished run, one at a time, and read them back as the program does.

    python benchmarks/bit_flips.py --flips 4000 --resumes 200 --out docs/results/bit-flips.md

A small run of Countdown (RL, IRL, validation, a checkpoint a step) is trained once. Then, for every flip, a kind of
file is drawn, a file of that kind, and one of its bits. What comes of reading it is

- refused: an error of one sentence that names the file;
- same: what is read is what was written (the bit is one of those that say nothing, or the file's last line is passed
  over as torn, and the line was none that anything depends on);
- other: something else is read in its place. This must not happen.

For ``--resumes`` further flips a run that was stopped half-way is gone on with as ``unsqueeze train --resume`` does. It
must end with the bits of the whole run, or with one sentence; or differ in the damaged file alone, which a warning
names (said). Exit code 1 if anything was read as other content, or ended otherwise.
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).parent))
from crash import RECIPE, differences, rollout_bits
from pages import made_by
from unsqueeze.config.load import check_recipe
from unsqueeze.digests import SUMS, check_sums
from unsqueeze.errors import RunError, UnsqueezeError, UserError
from unsqueeze.policy.loading import without_progress_bars
from unsqueeze.progress import Silent, StopRequest
from unsqueeze.store.records import read_record
from unsqueeze.store.run_directory import RunDirectory
from unsqueeze.training.arms import train_arm
from unsqueeze.training.state import state_fault

Outcome = str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flips", type=int, default=4000)
    parser.add_argument("--resumes", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="write the table here as Markdown")
    arguments = parser.parse_args()
    without_progress_bars()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="unsqueeze-flips-") as folder:
        whole = Path(folder, "whole")
        live(whole)
        rng = random.Random(arguments.seed)
        read = count_reads(whole, arguments.flips, rng)
        resumed = count_resumes(whole, Path(folder, "run"), arguments.resumes, rng)
    text = page(read, resumed, arguments)
    print(text)
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")
    bad = sum(counts["other"] + counts["traceback"] for counts in [*read.values(), *resumed.values()])
    sys.exit(1 if bad else 0)


class Warned(Silent):
    """Keeps what a person would be warned of."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def live(path: Path, shown: Silent | None = None) -> None:
    train_arm("flips", check_recipe(RECIPE, "flips"), path, shown or Silent(), StopRequest())


def kinds(run: Path) -> dict[str, list[Path]]:
    """The files of a run by kind; the lock says nothing."""
    found: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(path for path in run.rglob("*") if path.is_file() and path.name != "lock"):
        parts = path.relative_to(run).parts
        kind = "/".join([parts[0], *parts[2:-1]]) if len(parts) > 2 else parts[0]
        found[f"{kind}, *{path.suffix}" if len(parts) > 1 else kind].append(path)
    return dict(found)


def flip(path: Path, rng: random.Random) -> bytes:
    """Flip one bit of a file; returns what it held."""
    whole = path.read_bytes()
    damaged = bytearray(whole)
    place = rng.randrange(len(damaged) * 8)
    damaged[place // 8] ^= 1 << place % 8
    path.write_bytes(damaged)
    return whole


def count_reads(run: Path, flips: int, rng: random.Random) -> dict[str, Counter[Outcome]]:
    counts: dict[str, Counter[Outcome]] = defaultdict(Counter)
    files = kinds(run)
    content = {path: value_of(run, path) for paths in files.values() for path in paths}
    for _ in range(flips):
        kind = rng.choice(list(files))
        path = rng.choice(files[kind])
        whole = flip(path, rng)
        try:
            value = value_of(run, path)
            torn = isinstance(value, list) and value == content[path][:-1]
            outcome = "same" if value == content[path] else "torn" if torn else "other"
        except (RunError, UserError, ValueError) as error:
            outcome = "refused" if str(error).isprintable() else "traceback"
        finally:
            path.write_bytes(whole)
        counts[kind][outcome] += 1
    return dict(sorted(counts.items()))


def value_of(run: Path, path: Path) -> Any:
    """What the program reads of a file of a run, as a value that compares."""
    directory = RunDirectory.open(run)
    folder, name = path.parent, path.name
    number = int("".join(filter(str.isdigit, path.stem)) or 0)
    readers: dict[str, Callable[[], Any]] = {
        "journal.jsonl": directory.journal.read,
        "metrics.jsonl": directory.metrics.read,
        "rollouts": lambda: rollout_bits(directory, number),
        "demos": lambda: directory.demos.read(number),
    }
    if name in readers or folder.name in readers:
        return readers[name if name in readers else folder.name]()
    if path.suffix == ".parquet":
        return (directory.evals if folder.name == "evals" else directory.validation).samples(number)
    if folder.name == "policy":  # as whoever loads it
        check_sums(folder)
        return sorted(folder.iterdir()) if name == SUMS else path.read_bytes()
    if folder.name == "state":  # as whoever resumes from it
        if fault := state_fault(folder):
            raise ValueError(fault)
        if name == "state.json":
            return json.loads(path.read_bytes())
        return {name: tensor.numpy().tobytes() for name, tensor in load_file(path).items()}
    return read_record(path)


def count_resumes(whole: Path, run: Path, resumes: int, rng: random.Random) -> dict[str, Counter[Outcome]]:
    """Flip one bit in a run that was stopped with the end of its first IRL phase, and go on."""
    counts: dict[str, Counter[Outcome]] = defaultdict(Counter)
    for _ in range(resumes):
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(whole, run)
        stop_after(run, step=3)
        files = kinds(run)
        kind = rng.choice(list(files))
        path = rng.choice(files[kind])
        flip(path, rng)
        shown = Warned()
        try:
            live(run, shown)
            for aside in run.rglob("*.damaged"):
                shutil.rmtree(aside) if aside.is_dir() else aside.unlink()
            found = compared(whole, run)
            told = any(str(path) in warning or str(path.parent) in warning for warning in shown.warnings)
            outcome = "same bits" if not found else "said" if told else "other"
        except (RunError, UserError) as error:
            outcome = "one sentence" if str(error).isprintable() else "traceback"
        except Exception as error:  # noqa: BLE001 - what is counted
            print(f"{path.relative_to(run)}: {type(error).__name__}: {error}", file=sys.stderr)
            outcome = "traceback"
        counts[kind][outcome] += 1
    return dict(sorted(counts.items()))


def compared(whole: Path, run: Path) -> list[str]:
    """In what the runs differ; what cannot be read to be compared differs."""
    try:
        return differences(whole, run)
    except (UnsqueezeError, ValueError, KeyError) as error:
        return [str(error)]


def stop_after(run: Path, step: int) -> None:
    """Take a finished run back to where it was after ``step``."""
    directory = RunDirectory.open(run)
    for other in directory.checkpoints.steps():
        if other > step:
            shutil.rmtree(directory.checkpoints.path(other))
    for store in (directory.evals, directory.validation):
        for other in store.steps():
            if other > step:
                store.samples_path(other).unlink()
                store.summary_path(other).unlink()
    events = directory.journal.read()
    last = next(i for i, event in enumerate(events) if event["event"] == "checkpoint" and event["step"] == step)
    lines = directory.journal.path.read_bytes().splitlines(keepends=True)
    directory.journal.path.write_bytes(b"".join(lines[: last + 1]))


def page(read: dict[str, Counter[Outcome]], resumed: dict[str, Counter[Outcome]], arguments: argparse.Namespace) -> str:
    lines = [
        "# Bits that flip",
        "",
        f"{made_by('torch')} Seed {arguments.seed}. What the words mean stands at the top of that file.",
        "",
        *table(read, ("refused", "same", "torn", "other", "traceback"), "read back"),
        "",
        *table(resumed, ("one sentence", "same bits", "said", "other", "traceback"), "gone on with"),
        "",
    ]
    return "\n".join(lines)


def table(counts: dict[str, Counter[Outcome]], outcomes: tuple[Outcome, ...], what: str) -> list[str]:
    total: Counter[Outcome] = sum(counts.values(), Counter())
    rows = [(f"{what}: {kind}", count) for kind, count in counts.items()] + [(f"{what}: all", total)]
    return [
        f"| {what} | {' | '.join(outcomes)} |",
        f"| --- |{' ---: |' * len(outcomes)}",
        *(f"| {name.split(': ', 1)[1]} | {' | '.join(str(count[o]) for o in outcomes)} |" for name, count in rows),
    ]


if __name__ == "__main__":
    main()
