"""Train on a task of one's own: how its problems are made, who judges, and what a right answer looks like.

    python examples/own_task.py runs/sums

From a recipe or the command line, with this folder on PYTHONPATH:

    unsqueeze train smoke --set data.kind=own_task:Sums
    unsqueeze eval countdown-0.4m --task own_task:Sums --n 8 --out evals/sums
"""

import random
import sys
from collections.abc import Iterator

import unsqueeze as uq
from unsqueeze.config.data_settings import DataSettings
from unsqueeze.tasks.made import MadeTask, Split


def adds_up(problem: uq.Problem, response: str) -> bool:
    """Replay the steps, written ``3 + 4 = 7, 7 + 5 = 12``: sums of what is left, until the target alone is left."""
    left = problem.prompt.removesuffix(".").split("from ")[1].split()
    for step in response.split(","):
        words = step.split()
        if len(words) != 5 or words[1::2] != ["+", "="] or not all(word.isdecimal() for word in words[::2]):
            return False
        first, second, result = words[::2]
        for number in (first, second):
            if number not in left:
                return False
            left.remove(number)
        if int(first) + int(second) != int(result):
            return False
        left.append(result)
    return left == [problem.answer]


class Sums(MadeTask):
    """Reach the sum of four numbers, step by step. ``MadeTask`` sees to it that no question is in two splits."""

    name = "own_task:Sums"
    title = "four numbers to be added up"
    verifier = "own_task:adds_up"
    judged_in_place = True
    asks = "nothing"
    longest_answer = 24

    def draw(self, settings: DataSettings, split: Split, number: int) -> Iterator[uq.Problem]:
        """Draw problems by seed and split alone, so that they are the same on every machine."""
        numbers = random.Random(f"{settings.seed} {split}")
        for _ in range(20 * number):
            four = sorted(numbers.randint(1, 20) for _ in range(4))
            prompt = f"Make {sum(four)} from {' '.join(map(str, four))}."
            yield uq.Problem(id=prompt, prompt=prompt, answer=str(sum(four)), task=self.name)

    def gold_response(self, problem: uq.Problem, settings: DataSettings) -> str:
        """Write the steps out. The verifier is tried on this before training begins."""
        total, *rest = map(int, problem.prompt.removesuffix(".").split("from ")[1].split())
        steps = []
        for number in rest:
            steps.append(f"{total} + {number} = {total + number}")
            total += number
        return ", ".join(steps)


def main(run: str) -> None:
    trained = uq.train("smoke", run=run, overrides=["data.kind=own_task:Sums"])
    after = trained.after
    print(
        f"Avg@{after.max_samples} {after.avg.mean:.3f} on {after.n_problems} problems of {trained.run.recipe.data.kind}"
    )


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "runs/sums")
