"""Train with advantages of one's own: a function of judged groups that returns advantages, and which responses train.

    python examples/own_advantages.py runs/leave-one-out

From a recipe or the command line, with this folder on PYTHONPATH:

    unsqueeze train smoke --set rl.advantage=own_advantages:leave_one_out
"""

import sys

import torch

import unsqueeze as uq
from unsqueeze import losses


def leave_one_out(groups: losses.Groups, settings: losses.Surrogate) -> losses.Advantages:
    """Compare every response with the mean reward of the others of its group (RLOO, arXiv 2402.14740).

    A reward is NaN where nothing was judged: that response is left out of the means, and does not train.
    """
    judged = groups.judged_PG
    rewards = torch.where(judged, groups.rewards_PG, 0.0)
    others = judged.sum(dim=1, keepdim=True) - 1
    mean_of_others = (rewards.sum(dim=1, keepdim=True) - rewards) / others.clamp(min=1)
    return losses.Advantages(torch.where(judged & (others > 0), rewards - mean_of_others, 0.0), judged)


def main(run: str) -> None:
    trained = uq.train("smoke", run=run, advantages=leave_one_out)
    metrics = trained.run.metrics
    for step, reward, informative in zip(
        *(metrics[name].to_pylist() for name in ("step", "reward", "informative_groups")), strict=True
    ):
        if reward is not None:  # a row of an IRL step has none
            print(f"RL step {step}: reward {reward:.3f}, {informative:.0%} of the groups have a gradient")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "runs/leave-one-out")
