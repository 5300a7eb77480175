"""In which order the training problems come."""

from collections.abc import Sequence

import numpy as np

from unsqueeze.seeds import derive_seed
from unsqueeze.tasks.problem import Problem


class ProblemStream:
    """Passes over the problems without end, each in a new seeded order; every problem once a pass.

    ``position`` counts the problems handed out; it is the whole state. A step may straddle two passes, so no problem is
    ever left out because a batch did not fit.
    """

    def __init__(self, problems: Sequence[Problem], *, seed: int, position: int = 0) -> None:
        assert problems, "a stream needs at least one problem"
        self._problems = problems
        self._seed = seed
        self.position = position

    def take(self, count: int) -> list[Problem]:
        """The next ``count`` problems."""
        taken = [self._at(self.position + i) for i in range(count)]
        self.position += count
        return taken

    def _at(self, position: int) -> Problem:
        number, place = divmod(position, len(self._problems))
        return self._problems[int(self._order(number)[place])]

    def _order(self, number: int) -> np.ndarray:
        rng = np.random.default_rng(derive_seed(self._seed, "order", number))
        return rng.permutation(len(self._problems))
