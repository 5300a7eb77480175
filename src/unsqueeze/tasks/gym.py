"""Problems of reasoning-gym's procedural data sets: ``reasoning_gym:NAME[:SIZE[:SEED]]``."""

from collections.abc import Iterator

from unsqueeze.errors import UserError
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
    """The first ``limit`` problems of a data set. UserError where the package is absent or has no such data set.

    An id says which data set a problem is of and where it stands there, which is all its scorer needs.
    """
    try:
        import reasoning_gym
    except ImportError as error:
        raise UserError(
            f"{PREFIX}{name} needs the package reasoning-gym ({error}): pip install 'unsqueeze[reasoning-gym]'."
        ) from error
    try:
        data_set = reasoning_gym.create_dataset(name, size=size, seed=seed)
    except (ValueError, TypeError, AssertionError) as error:
        raise UserError(f"{PREFIX}{name}:{size}:{seed} cannot be made by reasoning-gym: {error}.") from error
    for index in range(min(size, limit or size)):
        entry = data_set[index]
        gold = entry["answer"]
        yield Problem(
            id=f"{name}:{size}:{seed}:{index}",
            prompt=str(entry["question"]).strip(),
            answer=UNKNOWN_GOLD if gold is None else str(gold),
            task="reasoning_gym",
        )


def place_of(problem_id: str) -> tuple[str, int, int, int]:
    """Name, size and seed of the data set, and the place in it, of a problem's id."""
    name, *numbers = problem_id.split(":")
    size, seed, index = map(int, numbers)
    return name, size, seed, index
