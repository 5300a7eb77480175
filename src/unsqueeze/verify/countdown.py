"""The checker of Countdown: replays every written step.

A response is UNPARSABLE when it is not a list of steps ``a op b = c`` (parted by commas, semicolons or line breaks),
and WRONG when it is one but a step breaks a rule or the end is not the target. The text is hostile: its length and the
digits of its numbers are bounded before anything is computed, and nothing is evaluated.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

from unsqueeze.tasks.countdown import Step, apply_operator, parse_prompt
from unsqueeze.tasks.problem import Problem
from unsqueeze.verify.verdict import Judgement, Verdict

MAX_RESPONSE_CHARS = 2_000
_SEPARATORS = re.compile(r"[,;\n]")
# ASCII digits by name: \d would also take the digits of every other script. Nine digits hold any honest result.
_NUMBER = r"(-?[0-9]{1,9})"
_STEP = re.compile(rf"{_NUMBER}[ \t]*([-+*/])[ \t]*{_NUMBER}[ \t]*=[ \t]*{_NUMBER}")


def check_countdown(problem: Problem, response: str) -> Judgement:
    """Verifier one response. ``extracted`` is the last written result; ``reason`` names the first step that fails."""
    numbers, target = parse_prompt(problem.prompt)
    if len(response) > MAX_RESPONSE_CHARS:
        return _unparsable(f"the response has {len(response)} characters; at most {MAX_RESPONSE_CHARS} are read")
    if not response.strip():
        return _unparsable("the response is empty")
    steps: list[Step] = []
    for place, text in enumerate(_SEPARATORS.split(response.strip()), start=1):
        step = _parse_step(text)
        if step is None:
            return _unparsable(f"step {place} is not of the form 'a op b = c': {text.strip()[:40]!r}")
        steps.append(step)
    fault = _first_fault(steps, numbers, target)
    return Judgement(
        Verdict.WRONG if fault else Verdict.CORRECT, extracted=str(steps[-1].result), reason=fault or "every step holds"
    )


class CountdownVerifier:
    """Implements ``Verifier`` by ``check_countdown``. Checking is cheap and safe, so it needs no worker process."""

    def verify(self, problems: Sequence[Problem], responses: Sequence[str]) -> list[Judgement]:
        return [check_countdown(problem, response) for problem, response in zip(problems, responses, strict=True)]

    def close(self) -> None:
        """Close nothing: nothing is held open."""


def parse_steps(response: str) -> list[Step] | None:
    """The steps of a response, legal or not; None where it is not a list of steps."""
    if len(response) > MAX_RESPONSE_CHARS:
        return None
    steps = [_parse_step(text) for text in _SEPARATORS.split(response.strip())]
    return None if None in steps else [step for step in steps if step is not None]


# Answers to one set of problems share most of their steps. At most 16 MB, of which the longest answers are worth 4 kB.
@lru_cache(maxsize=8192)
def _parse_step(text: str) -> Step | None:
    match = _STEP.fullmatch(text.strip(" \t\r"))
    return Step(int(match[1]), match[2], int(match[3]), int(match[4])) if match else None


def _first_fault(steps: Sequence[Step], numbers: Sequence[int], target: int) -> str | None:
    """Describe the first step that breaks a rule, or a wrong end; None where all is right."""
    table = list(numbers)
    for place, step in enumerate(steps, start=1):
        for operand in (step.left, step.right):
            if operand not in table:
                return f"step {place}: {operand} is not available"
            table.remove(operand)
        result = apply_operator(step.operator, step.left, step.right)
        if result is None:
            return f"step {place}: {step.left} {step.operator} {step.right} is not a whole number of 0 or more"
        if result != step.result:
            return f"step {place}: {step.left} {step.operator} {step.right} is {result}, not {step.result}"
        table.append(result)
    if len(table) > 1:
        return f"after step {len(steps)}: {len(table)} numbers are left; every number must be used"
    return None if table[0] == target else f"the last result is {table[0]}, not {target}"


def _unparsable(reason: str) -> Judgement:
    return Judgement(Verdict.UNPARSABLE, reason=reason)
