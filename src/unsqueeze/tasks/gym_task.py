"""reasoning-gym as a task: one of its procedural data sets, by name, judged by that data set's own scorer."""

from unsqueeze.config.recipe import DataSettings
from unsqueeze.errors import UserError
from unsqueeze.seeds import derive_seed
from unsqueeze.tasks.gym import gym_problems
from unsqueeze.tasks.problem import Problem, content_sha256
from unsqueeze.tasks.task import Data, Sizes, Task

NUM_TRAIN = 800
NUM_TEST = 96


class GymTask(Task):
    """``data.options.name`` names the data set; every split has a seed of its own, and no question is in two."""

    name = "reasoning_gym"
    title = "a procedural data set of reasoning-gym (data.options.name)"
    verifier = "reasoning_gym"
    asks = "tags"

    def load(self, settings: DataSettings) -> Data:
        name = settings.options.get("name")
        if not isinstance(name, str) or set(settings.options) != {"name"}:
            raise UserError(
                f"data.options is {settings.options!r}, and data.kind is reasoning_gym: give name alone, a data set of "
                f"reasoning-gym, for example --set data.options.name=leg_counting."
            )
        sizes = self.sizes(settings)
        seen: set[str] = set()
        splits = {
            split: distinct_problems(name, split, size or 0, settings.seed, seen)
            for split, size in (("test", sizes.test), ("validation", sizes.validation), ("train", sizes.train))
        }
        digests = {f"reasoning_gym:{name}:{split}": content_sha256(found) for split, found in splits.items() if found}
        return Data(splits["train"], splits["test"], splits["validation"], digests)

    def sizes(self, settings: DataSettings) -> Sizes:
        return Sizes(
            train=settings.num_train or NUM_TRAIN,
            test=settings.num_test or NUM_TEST,
            validation=settings.num_validation,
        )


def distinct_problems(name: str, split: str, size: int, seed: int, seen: set[str]) -> list[Problem]:
    """Return ``size`` problems whose questions are not ``seen``, and add theirs. UserError where there are too few."""
    drawn = 4 * size
    found: list[Problem] = []
    for problem in gym_problems(name, drawn, derive_seed(seed, "gym", split) % 2**31, drawn) if size else ():
        if len(found) < size and problem.prompt not in seen:
            seen.add(problem.prompt)
            found.append(problem)
    if len(found) < size:
        raise UserError(
            f"reasoning_gym:{name} has only {len(found)} different questions among {drawn} for the {split} problems, "
            f"and {size} were asked for; lower data.num_train, data.num_test or data.num_validation."
        )
    return found
