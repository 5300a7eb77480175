"""Make the problems of a data set of reasoning-gym, in a process of its own (``tasks.gym``): a JSON list a line.

["problem", question, answer or null], or instead of all problems ["absent", why], ["refused", why], or
["unsteady", number of a problem that is another one the next time].
"""

import json
import sys
from contextlib import redirect_stdout
from typing import Any

TRIED_AGAIN = 16
"""Problems that are made a second time, from the last to the first, to see whether they are the same."""


def made(name: str, size: int, seed: int, limit: int) -> list[list[Any]]:
    """The lines to say."""
    try:
        import reasoning_gym
    except ImportError as error:
        return [["absent", str(error)]]
    try:
        data_set, again = (reasoning_gym.create_dataset(name, size=size, seed=seed) for _ in range(2))
    except (ValueError, TypeError, AssertionError) as error:
        return [["refused", str(error)]]
    problems = [_problem(data_set[index]) for index in range(limit)]
    # The scorer asks for one problem after another, in any order, and for the same one often.
    for index in reversed(range(min(limit, TRIED_AGAIN))):
        if any(_problem(again[index]) != problems[index] for _ in range(2)):
            return [["unsteady", index]]
    return problems


def _problem(entry: Any) -> list[Any]:
    answer = entry["answer"]
    return ["problem", str(entry["question"]), None if answer is None else str(answer)]


def main() -> None:
    """Say what the only argument asks for: a JSON list of name, size, seed and limit."""
    said = sys.stdout
    with redirect_stdout(sys.stderr):  # a data set may print
        lines = made(*json.loads(sys.argv[1]))
    said.writelines(json.dumps(line) + "\n" for line in lines)


if __name__ == "__main__":
    main()
