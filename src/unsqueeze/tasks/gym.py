"""Problems of reasoning-gym's procedural data sets: ``reasoning_gym:NAME[:SIZE[:SEED]]``."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from unsqueeze.errors import UserError
from unsqueeze.seeds import HASH_SEED
from unsqueeze.tasks.problem import Problem

PREFIX = "reasoning_gym:"
DEFAULT_SIZE = 100
DEFAULT_SEED = 0
UNKNOWN_GOLD = "any that scores 1"
"""The gold answer where a data set gives none, as several puzzles do: their scorers know a right one."""
_FORM = f"{PREFIX}NAME[:SIZE[:SEED]]"


def parse_gym(text: str) -> tuple[str, int, int]:
    """Name, size and seed. UserError for anything else."""
    name, *numbers = text.removeprefix(PREFIX).split(":")
    if name and len(numbers) <= 2 and all(number.isdecimal() for number in numbers):
        size, seed = (*map(int, numbers), *(DEFAULT_SIZE, DEFAULT_SEED)[len(numbers) :])
        if size >= 1:
            return name, size, seed
    raise UserError(f"{text}: write a data set of reasoning-gym as {_FORM}, for example {PREFIX}leg_counting:50:0.")


def gym_problems(name: str, size: int, seed: int, limit: int | None = None) -> Iterator[Problem]:
    """The first ``limit`` problems of a data set. UserError where the package is absent, has no such data set, or makes
    other problems each time.

    An id says which data set a problem is of and where it stands there, which is all its scorer needs. Some data sets
    depend on the order of sets, so that problems are made in a process of its own, with the hash seed that the scorer's
    process has too.
    """
    asked = json.dumps([name, size, seed, min(size, limit or size)])
    said = _said_by([sys.executable, "-P", "-m", "unsqueeze.tasks.gym_making", asked])
    whole = f"{PREFIX}{name}:{size}:{seed}"
    for index, line in enumerate(said):
        kind, *values = line
        if kind == "absent":
            raise UserError(
                f"{PREFIX}{name} needs the package reasoning-gym ({values[0]}): pip install 'unsqueeze[reasoning-gym]'."
            )
        if kind == "refused":
            raise UserError(f"{whole} cannot be made by reasoning-gym: {values[0]}.")
        if kind == "unsteady":
            raise UserError(
                f"{whole}: reasoning-gym makes another problem number {values[0]} each time it is asked, whatever the "
                f"seed, so that no answer could be scored; choose another data set."
            )
        question, gold = values
        yield Problem(
            id=f"{name}:{size}:{seed}:{index}",
            prompt=question.strip(),
            answer=UNKNOWN_GOLD if gold is None else gold,
            task="reasoning_gym",
        )


def _said_by(command: list[str]) -> list[list[Any]]:
    """What a process of ours says, a JSON list a line. UserError with its last words where it fails."""
    paths = os.pathsep.join(path for path in sys.path if path)
    environment = {**os.environ, "PYTHONHASHSEED": HASH_SEED, "PYTHONPATH": paths}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, encoding="utf-8", check=False)
    if done.returncode != 0:
        words = done.stderr.strip().splitlines() or [f"it ended with code {done.returncode}"]
        raise UserError(f"the problems of reasoning-gym could not be made: {words[-1][:300]}.")
    return [json.loads(line) for line in done.stdout.splitlines()]


def place_of(problem_id: str) -> tuple[str, int, int, int]:
    """Name, size and seed of the data set, and the place in it, of a problem's id."""
    name, *numbers = problem_id.split(":")
    size, seed, index = map(int, numbers)
    return name, size, seed, index
