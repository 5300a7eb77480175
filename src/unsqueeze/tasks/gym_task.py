"""reasoning-gym as a task: one of its procedural data sets, by name, judged by that data set's own scorer."""

from collections.abc import Iterator

from unsqueeze.config.data_settings import DataSettings
from unsqueeze.errors import UserError
from unsqueeze.seeds import derive_seed
from unsqueeze.tasks.gym import UNKNOWN_GOLD, gym_problems
from unsqueeze.tasks.made import MadeTask, Split
from unsqueeze.tasks.problem import Problem
from unsqueeze.tasks.task import options_of

DRAWN = 4
"""Questions that are drawn for each that is wanted: some data sets repeat themselves."""


class GymTask(MadeTask):
    """``data.options.name`` names the data set; every split has a seed of its own."""

    name = "reasoning_gym"
    title = (
        "a procedural data set of reasoning-gym: reasoning_gym:NAME, in recipes data.options.name. Some run the "
        "model's answers as Python, confined as far as the system allows (unsqueeze doctor): use a container"
    )
    named_is_enough = False
    verifier = "reasoning_gym"
    asks = "tags"

    def draw(self, settings: DataSettings, split: Split, number: int) -> Iterator[Problem]:
        name = options_of(settings, {"name": ""})["name"]
        if not name:
            raise UserError(
                "data.kind is reasoning_gym, so data.options.name must name one of its data sets, for example "
                "leg_counting."
            )
        drawn = DRAWN * number
        if number:
            yield from gym_problems(name, drawn, derive_seed(settings.seed, "reasoning_gym", split) % 2**31, drawn)

    def gold_response(self, problem: Problem, settings: DataSettings) -> str | None:
        """The answer between tags, which hold one of several lines and with braces, too."""
        return None if problem.answer == UNKNOWN_GOLD else f"<answer>{problem.answer}</answer>"
