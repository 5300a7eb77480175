"""The checker of Countdown: replays every written step.

A response is UNPARSABLE when it is not a list of steps ``a op b = c`` (parted by commas, semicolons or line breaks),
and WRONG when it is one but a step breaks a rule or the end is not the target. The text is hostile: its length and the
digits of its numbers are bounded before anything is computed, and nothing is evaluated.
"""

from collections.abc import Sequence

from unsqueeze.config.rollout_settings import VerifySettings
from unsqueeze.tasks.countdown import MAX_RESPONSE_CHARS, SEPARATORS, Step, apply_operator, parse_prompt, parse_step
from unsqueeze.tasks.problem import Problem
from unsqueeze.verify.verdict import Judgement, Verdict


def check_countdown(problem: Problem, response: str) -> Judgement:
    """Verifier one response. ``extracted`` is the last written result; ``reason`` names the first step that fails."""
    numbers, target = parse_prompt(problem.prompt)
    if len(response) > MAX_RESPONSE_CHARS:
        return _unparsable(f"the response has {len(response)} characters; at most {MAX_RESPONSE_CHARS} are read")
    if not response.strip():
        return _unparsable("the response is empty")
    steps: list[Step] = []
    for place, text in enumerate(SEPARATORS.split(response.strip()), start=1):
        step = parse_step(text)
        if step is None:
            return _unparsable(f"step {place} is not of the form 'a op b = c': {text.strip()[:40]!r}")
        steps.append(step)
    fault = _first_fault(steps, numbers, target)
    return Judgement(
        Verdict.WRONG if fault else Verdict.CORRECT, extracted=str(steps[-1].result), reason=fault or "every step holds"
    )


class CountdownVerifier:
    """Implements ``Verifier`` by ``check_countdown``. Checking is cheap and safe, so it needs no worker process."""

    name = "countdown"
    judges_beside = True

    def verify(self, problems: Sequence[Problem], responses: Sequence[str]) -> list[Judgement]:
        return [check_countdown(problem, response) for problem, response in zip(problems, responses, strict=True)]

    def close(self) -> None:
        """Close nothing: nothing is held open."""


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


def make_countdown_verifier(settings: VerifySettings) -> CountdownVerifier:
    """Return the checker; no setting changes what it does."""
    return CountdownVerifier()
