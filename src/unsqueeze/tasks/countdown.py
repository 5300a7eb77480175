"""Countdown with steps: reach a target from a few numbers, each used exactly once, in written steps ``a op b = c``.

    Make 48 from 2 3 6 14.        ->        14 - 6 = 8, 8 * 3 = 24, 24 * 2 = 48

With n numbers a solution has exactly n - 1 steps: each takes two numbers that are on the table off it and puts their
result there. All numbers are whole and never negative; division must come out even.

Every problem belongs to one side of a fixed split, by a hash of its key (the sorted numbers and the target), whatever
seed or difficulty drew it. So nothing drawn from the training side, now or later, can be a test problem.
"""

import random
import re
import zlib
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations

from unsqueeze.errors import UserError
from unsqueeze.tasks.problem import Problem

OPERATORS = "+-*/"
STEP_SEPARATOR = ", "
HELD_OUT_ONE_IN = 8
_PROMPT = re.compile(r"Make ([0-9]{1,9}) from ([0-9]{1,9}(?: [0-9]{1,9})+)\.")
_TRIES_WITHOUT_A_NEW_PROBLEM = 20_000

MAX_RESPONSE_CHARS = 2_000
SEPARATORS = re.compile(r"[,;\n]")
# ASCII digits by name: \d would also take the digits of every other script. Nine digits hold any honest result.
_NUMBER = r"(-?[0-9]{1,9})"
_STEP = re.compile(rf"{_NUMBER}[ \t]*([-+*/])[ \t]*{_NUMBER}[ \t]*=[ \t]*{_NUMBER}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CountdownDifficulty:
    """Difficulty of the problems. The defaults are the setting the embedded model was trained for.

    ``max_result`` bounds every intermediate result of the solutions the generator draws. It keeps the vocabulary of a
    small model small; it is no rule of the game, and the checker does not ask for it. ``max_target`` None is the same.
    """

    count: int = 4
    min_number: int = 1
    max_number: int = 15
    operators: str = "+-*"
    min_target: int = 10
    max_target: int | None = None
    max_result: int = 99

    def __post_init__(self) -> None:
        if not 2 <= self.count <= 6:
            raise UserError(f"countdown: count is {self.count}; a problem has 2 to 6 numbers.")
        if not 0 <= self.min_number <= self.max_number <= self.max_result:
            raise UserError(
                f"countdown: numbers from {self.min_number} to {self.max_number} with results up to {self.max_result}; "
                "it must hold that 0 <= min_number <= max_number <= max_result."
            )
        if not 0 <= self.min_target <= self.highest_target <= self.max_result:
            raise UserError(
                f"countdown: targets from {self.min_target} to {self.highest_target} with results up to "
                f"{self.max_result}; it must hold that 0 <= min_target <= max_target <= max_result."
            )
        if not self.operators or set(self.operators) - set(OPERATORS):
            raise UserError(f"countdown: operators are {self.operators!r}; choose one or more of {OPERATORS!r}.")

    @property
    def highest_target(self) -> int:
        return self.max_result if self.max_target is None else self.max_target


@dataclass(frozen=True, slots=True)
class Step:
    """One written step; printed as ``left operator right = result``."""

    left: int
    operator: str
    right: int
    result: int

    def __str__(self) -> str:
        return f"{self.left} {self.operator} {self.right} = {self.result}"


def apply_operator(operator: str, left: int, right: int) -> int | None:
    """The result of one step, or None where the rules forbid it (below zero, or a division that leaves a rest)."""
    if operator == "+":
        return left + right
    if operator == "*":
        return left * right
    if operator == "-":
        return left - right if left >= right else None
    assert operator == "/", operator
    return left // right if right and left % right == 0 else None


def render_steps(steps: Sequence[Step]) -> str:
    """The text of a solution, as the embedded model writes it."""
    return STEP_SEPARATOR.join(map(str, steps))


def render_prompt(numbers: Sequence[int], target: int) -> str:
    """The question. The numbers are sorted, so that one key has one prompt."""
    return f"Make {target} from {' '.join(map(str, sorted(numbers)))}."


@lru_cache(maxsize=1024)  # a problem is asked many times over
def parse_prompt(prompt: str) -> tuple[tuple[int, ...], int]:
    """The numbers and the target of a question that ``render_prompt`` wrote."""
    match = _PROMPT.fullmatch(prompt)
    if match is None:
        raise UserError(
            f"countdown: the prompt {prompt[:80]!r} is not of the form 'Make TARGET from NUMBER NUMBER ...', "
            "ending in a full stop."
        )
    return tuple(int(number) for number in match[2].split(" ")), int(match[1])


def make_problem(numbers: Sequence[int], target: int) -> Problem:
    key = ".".join(map(str, sorted(numbers)))
    return Problem(
        id=f"countdown-{key}-{target}", prompt=render_prompt(numbers, target), answer=str(target), task="countdown"
    )


def is_held_out(numbers: Sequence[int], target: int) -> bool:
    """Tell whether a problem is on the test side: one key in eight, by CRC-32 of the sorted numbers and the target."""
    return zlib.crc32(render_prompt(numbers, target).encode()) % HELD_OUT_ONE_IN == 0


def random_numbers(rng: random.Random, difficulty: CountdownDifficulty) -> list[int]:
    """The numbers of a problem: independent and uniform, with repetition."""
    return [rng.randint(difficulty.min_number, difficulty.max_number) for _ in range(difficulty.count)]


def random_steps(rng: random.Random, numbers: Sequence[int], difficulty: CountdownDifficulty) -> list[Step] | None:
    """A random walk to the end of the table: each step uniform over the legal ones, in both orders of the operands.

    None where the walk ends early because no step is legal (every result would pass ``max_result``).
    """
    table = list(numbers)
    steps: list[Step] = []
    while len(table) > 1:
        legal = list(legal_steps(table, difficulty))
        if not legal:
            return None
        left, operator, right, result = rng.choice(legal)
        table.remove(left)
        table.remove(right)
        table.append(result)
        steps.append(Step(left, operator, right, result))
    return steps


def random_solution(
    rng: random.Random, difficulty: CountdownDifficulty, *, held_out: bool
) -> tuple[list[int], list[Step]]:
    """Numbers and the steps of one random solution of a problem on the wanted side; its target is the last result.

    Drawn forwards (numbers, then steps), so a problem with many solutions is drawn with many of them.
    """
    for _ in range(_TRIES_WITHOUT_A_NEW_PROBLEM):
        numbers = random_numbers(rng, difficulty)
        steps = random_steps(rng, numbers, difficulty)
        if steps is None:
            continue
        target = steps[-1].result
        if difficulty.min_target <= target <= difficulty.highest_target and is_held_out(numbers, target) is held_out:
            return numbers, steps
    raise UserError(f"countdown: no problem with a solution was found for {difficulty}; widen its ranges.")


def countdown_problems(
    num_train: int, num_test: int, seed: int, difficulty: CountdownDifficulty | None = None
) -> tuple[list[Problem], list[Problem]]:
    """Distinct problems that have a solution, seeded; no key (sorted numbers, target) is in both lists."""
    difficulty = difficulty or CountdownDifficulty()
    train = _distinct_problems(num_train, random.Random(f"countdown-train-{seed}"), difficulty, held_out=False)
    test = _distinct_problems(num_test, random.Random(f"countdown-test-{seed}"), difficulty, held_out=True)
    return train, test


def countdown_validation_problems(
    num: int, seed: int, difficulty: CountdownDifficulty, train: Sequence[Problem]
) -> list[Problem]:
    """Distinct problems beside those of ``train``, seeded.

    They come from the training side of the split, so that no test problem, now or later, can be one of them.
    """
    rng = random.Random(f"countdown-validation-{seed}")
    return _distinct_problems(num, rng, difficulty, held_out=False, without={problem.id for problem in train})


def _distinct_problems(
    num: int,
    rng: random.Random,
    difficulty: CountdownDifficulty,
    *,
    held_out: bool,
    without: Set[str] = frozenset(),
) -> list[Problem]:
    if num < 0:
        raise UserError(f"countdown: {num} problems were asked for; the number must be 0 or more.")
    problems: dict[str, Problem] = {}
    tries = 0
    while len(problems) < num:
        numbers, steps = random_solution(rng, difficulty, held_out=held_out)
        problem = make_problem(numbers, steps[-1].result)
        is_new = problem.id not in problems and problem.id not in without
        tries = 0 if is_new else tries + 1
        if is_new:
            problems[problem.id] = problem
        if tries > _TRIES_WITHOUT_A_NEW_PROBLEM:
            side = "test" if held_out else "training"
            raise UserError(
                f"countdown: {num} {side} problems were asked for and only {len(problems)} different ones were found "
                f"for {difficulty}; ask for fewer or widen its ranges."
            )
    return list(problems.values())


def legal_steps(table: Sequence[int], difficulty: CountdownDifficulty) -> Iterator[tuple[int, str, int, int]]:
    """The fields of every legal next step, both orders of each pair of places."""
    for left, right in permutations(table, 2):
        for operator in difficulty.operators:
            result = apply_operator(operator, left, right)
            if result is not None and result <= difficulty.max_result:
                yield left, operator, right, result


def parse_steps(response: str) -> list[Step] | None:
    """The steps of a response, legal or not; None where it is not a list of steps."""
    if len(response) > MAX_RESPONSE_CHARS:
        return None
    steps = [parse_step(text) for text in SEPARATORS.split(response.strip())]
    return None if None in steps else [step for step in steps if step is not None]


# Answers to one set of problems share most of their steps. At most 16 MB, of which the longest answers are worth 4 kB.
@lru_cache(maxsize=8192)
def parse_step(text: str) -> Step | None:
    match = _STEP.fullmatch(text.strip(" \t\r"))
    return Step(int(match[1]), match[2], int(match[3]), int(match[4])) if match else None
