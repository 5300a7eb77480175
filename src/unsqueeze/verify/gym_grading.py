"""The scorers of reasoning-gym, as a worker calls them. Nothing but a worker imports this module.

Several of its data sets read an answer with sympy, which evaluates it: like all model output it is judged in processes
that can be killed, have bounded memory and may write no file.
"""

import json
from functools import lru_cache
from typing import Any

from unsqueeze.verify.job import Grade


@lru_cache(maxsize=8)
def _data_set(name: str, size: int, seed: int) -> Any:
    import reasoning_gym

    return reasoning_gym.create_dataset(name, size=size, seed=seed)


class GymGrader:
    """``gold`` is JSON: name, size and seed of the data set, and the place of the problem in it."""

    def __init__(self) -> None:
        import reasoning_gym  # noqa: F401 - loaded before workers are forked

    def grade(self, gold: str, text: str, where: str) -> Grade:
        """Correct at the full score of 1; part of it is wrong."""
        name, size, seed, index = json.loads(gold)
        data_set = _data_set(name, size, seed)
        score = float(data_set.score_answer(text, data_set[index]))
        return Grade("correct" if score >= 1.0 else "wrong", True, text, f"reasoning-gym's score is {score:g}")
