"""A reward for `swift rlhf --external_plugins`: 1 where the answer names the target of its problem."""

from swift.rewards import ORM, orms


class Target(ORM):
    def __call__(self, completions, solution, **_):
        return [float(target in said) for said, target in zip(completions, solution, strict=True)]


orms["target"] = Target


class Short(ORM):
    def __call__(self, completions, **_):
        return [-0.04 * (len(said) > 40) for said in completions]


orms["short"] = Short
