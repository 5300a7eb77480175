"""Tasks whose problems are made from a seed: what their splits have in common."""

from abc import abstractmethod
from collections.abc import Iterator
from itertools import islice
from typing import ClassVar, Literal

from unsqueeze.config.data_settings import DataSettings
from unsqueeze.errors import UserError
from unsqueeze.tasks.problem import Problem, content_sha256
from unsqueeze.tasks.task import Data, Sizes, Task

Split = Literal["train", "test", "validation"]

TRIES = 20
"""Problems that are drawn for each that is wanted, before it is said that there are too few different ones."""


class MadeTask(Task):
    """A task that draws its problems: a subclass gives ``draw``, and no question is in two splits.

    Held-out problems are drawn first, so that neither the number of validation problems nor that of training problems
    changes one of them; then the validation problems; training takes what is in neither.
    """

    named_is_enough = True
    default_sizes: ClassVar[Sizes] = Sizes(train=800, test=96)

    @abstractmethod
    def draw(self, settings: DataSettings, split: Split, number: int) -> Iterator[Problem]:
        """Draw problems of a split, by ``settings.seed`` and the split alone; more than ``number``, for repeats are
        passed over.
        """

    def load(self, settings: DataSettings) -> Data:
        for name in ("train_path", "test_path", "validation_path"):
            if getattr(settings, name) is not None:
                raise UserError(
                    f"data.{name} is {getattr(settings, name)!r}, and data.kind {settings.kind} makes its problems; "
                    f"leave it out, or set data.kind to jsonl or hub."
                )
        sizes = self.sizes(settings)
        seen: set[str] = set()
        test = self._distinct(settings, "test", sizes.test or 0, seen)
        validation = self._distinct(settings, "validation", sizes.validation or 0, seen)
        train = self._distinct(settings, "train", sizes.train or 0, seen)
        parts = {"train": train, "test": test, "validation": validation}
        digests = {f"{self.name} {split}": content_sha256(part) for split, part in parts.items() if part}
        return Data(train, test, validation, digests)

    def _distinct(self, settings: DataSettings, split: Split, number: int, seen: set[str]) -> list[Problem]:
        """Return ``number`` problems whose questions are not ``seen``, and add theirs. UserError if there are fewer."""
        found: list[Problem] = []
        for problem in islice(self.draw(settings, split, number), TRIES * number):
            if problem.prompt not in seen:
                seen.add(problem.prompt)
                found.append(problem)
            if len(found) == number:
                return found
        if number == 0:
            return found
        raise UserError(
            f"data.kind {settings.kind} made only {len(found)} new questions for the {split} problems, and {number} "
            f"are asked for; lower data.num_{split}, or change data.options."
        )
