"""Countdown as a task: problems made from a seed, a checker that replays steps, solutions told apart."""

from unsqueeze.config.data_settings import DataSettings
from unsqueeze.errors import UserError
from unsqueeze.tasks.countdown import (
    CountdownDifficulty,
    countdown_problems,
    countdown_validation_problems,
    parse_prompt,
    parse_steps,
    render_steps,
)
from unsqueeze.tasks.countdown_solutions import canonical_solution, find_solution
from unsqueeze.tasks.problem import Problem
from unsqueeze.tasks.task import Data, Expected, Sizes, Task, options_of

PROMPT_TOKENS = 16
STEP_TOKENS = 6
"""``a op b = c`` is five tokens, and a comma or the end follows it."""


class CountdownTask(Task):
    """Reach a target from a few numbers in written steps (``tasks.countdown``)."""

    name = "countdown"
    title = "four numbers, three steps"
    verifier = "countdown"
    judged_in_place = True
    asks = "nothing"
    longest_answer = 24
    named_is_enough = True
    default_sizes = Sizes(train=800, test=96)
    """The first 96 held-out problems of any larger number are these."""

    def load(self, settings: DataSettings) -> Data:
        options_of(settings, {})
        if settings.validation_path is not None:
            raise UserError(
                f"data.validation_path is {settings.validation_path!r}, and data.kind countdown makes its validation "
                f"problems; give data.num_validation instead."
            )
        difficulty, sizes = difficulty_of(settings), self.sizes(settings)
        train, test = countdown_problems(sizes.train or 0, sizes.test or 0, settings.seed, difficulty)
        if sizes.validation is None:
            return Data(train, test)
        return Data(train, test, countdown_validation_problems(sizes.validation, settings.seed, difficulty, train))

    def expected(self, settings: DataSettings) -> Expected:
        """An answer has one step fewer than there are numbers, so its length is known."""
        return Expected(prompt=PROMPT_TOKENS, response=float(STEP_TOKENS * (settings.countdown.count - 1)))

    def gold_response(self, problem: Problem, settings: DataSettings) -> str:
        """The steps of a solution."""
        numbers, target = parse_prompt(problem.prompt)
        steps = find_solution(numbers, target, difficulty_of(settings))
        assert steps is not None, "every Countdown problem is made from a solution"
        return render_steps(steps)

    def canonical(self, problem: Problem, response: str) -> str:
        steps = parse_steps(response)
        assert steps is not None, "a right answer to Countdown is a list of steps"
        return canonical_solution(parse_prompt(problem.prompt)[0], steps)


def difficulty_of(settings: DataSettings) -> CountdownDifficulty:
    """Return the difficulty that ``data.countdown`` states."""
    return CountdownDifficulty(**settings.countdown.model_dump())
