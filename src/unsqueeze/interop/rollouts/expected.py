"""How many rollouts a trainer must have made, and the most tokens it gave a response, by what it says itself."""

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from unsqueeze.errors import UserError
from unsqueeze.interop.rollouts import swift
from unsqueeze.interop.rollouts.format import Format, first_line
from unsqueeze.interop.sample_files import open_parquet


class Expected(NamedTuple):
    """A number of rollouts, and where it comes from."""

    number: int
    by: str


def length_limit(found: Format, source: Path) -> int | None:
    """Return the most new tokens of a response by the trainer's arguments; None where they are not there."""
    value = swift.arguments(source).get("max_completion_length") if found.name == "swift" else None
    return value if isinstance(value, int) and value > 0 else None


def expected_rows(found: Format, source: Path, files: Sequence[str]) -> Expected | None:
    """Return how many rollouts the trainer made by its state at the last checkpoint; None where nothing says.

    ms-swift states all that is needed. TRL's state has the steps and how often it logged; the rows of the largest file
    are a generation, and there is one a step unless steps_per_generation or num_iterations say otherwise.
    """
    folder = source if source.is_dir() else source.parent
    state = trainer_state(folder if folder.name != "completions" else folder.parent)
    steps = state.get("global_step")
    if not isinstance(steps, int):
        return None
    if found.name == "swift":
        return _of_swift(Path(files[0]), steps)
    return _of_trl(files, steps) if found.name == "trl" else None


def _of_swift(path: Path, steps: int) -> Expected:
    """Take from args.json what is not its default; the lists of a line are as long as a generation."""
    arguments = swift.arguments(path)
    accumulated = arguments.get("gradient_accumulation_steps") or 1
    per_generation = arguments.get("steps_per_generation") or accumulated
    size = len((first_line(path) or {}).get("prompt", ()))
    generations = math.ceil(steps * accumulated / (per_generation * (arguments.get("num_iterations") or 1)))
    return Expected(generations * size, f"{generations} generations of {size} in {steps} steps, by args.json")


def _of_trl(files: Sequence[str], steps: int) -> Expected:
    sizes = []
    for path in files:
        with open_parquet(path) as file:
            sizes.append(int(file.metadata.num_rows))
    size = max(sizes)
    return Expected(
        size * steps,
        f"a generation of {size} in each of {steps} steps, if none was used for several steps by steps_per_generation "
        f"or num_iterations",
    )


def trainer_state(folder: Path) -> dict[str, Any]:
    """Return the state of the last checkpoint in an output folder of transformers' Trainer; empty without one."""
    numbered = [(int(found[1]), each) for each in folder.glob("checkpoint-*") if (found := _number(each)) is not None]
    for _, checkpoint in sorted(numbered, reverse=True):
        path = checkpoint / "trainer_state.json"
        try:
            state = json.loads(path.read_bytes())
        except OSError:
            continue
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path} is not valid JSON ({error}); mend or remove it.") from None
        return state if isinstance(state, dict) else {}
    return {}


def _number(folder: Path) -> re.Match[str] | None:
    return re.search(r"checkpoint-(\d+)$", folder.name)
