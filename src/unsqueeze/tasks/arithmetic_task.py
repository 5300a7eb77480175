"""Chains of additions and subtractions: a task small enough to read, with answers that anyone can check."""

import random
from collections.abc import Iterator

from unsqueeze.config.data_settings import DataSettings
from unsqueeze.errors import UserError
from unsqueeze.tasks.made import MadeTask, Split
from unsqueeze.tasks.problem import Problem
from unsqueeze.tasks.task import options_of

SIGNS = {"+": 1, "-": -1}


class ArithmeticTask(MadeTask):
    """``What is 12 - 40 + 7?`` with so many numbers (``data.options.terms``), from 0 to ``data.options.largest``."""

    name = "arithmetic"
    title = "four numbers up to 99, added and subtracted"

    def draw(self, settings: DataSettings, split: Split, number: int) -> Iterator[Problem]:
        options = options_of(settings, {"terms": 4, "largest": 99})
        terms, largest = options["terms"], options["largest"]
        if terms < 2 or largest < 1:
            raise UserError(
                f"data.options.terms is {terms} and data.options.largest {largest}; give 2 numbers or more, up to 1 or "
                f"more."
            )
        rng = random.Random(f"arithmetic-{split}-{settings.seed}")
        while True:
            first, *rest = (rng.randint(0, largest) for _ in range(terms))
            signs = [rng.choice("+-") for _ in rest]
            answer = first + sum(SIGNS[sign] * value for sign, value in zip(signs, rest, strict=True))
            chain = " ".join([str(first), *(f"{sign} {value}" for sign, value in zip(signs, rest, strict=True))])
            yield Problem(
                id=f"arithmetic-{chain.replace(' ', '')}",
                prompt=f"What is {chain}?",
                answer=str(answer),
                task=self.name,
            )
