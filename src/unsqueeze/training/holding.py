"""The closed loop of IRL's strength: a gauge of squeezing against its value before training (``irl.hold``)."""

from unsqueeze.training.gauges import measure
from unsqueeze.training.run import Run


def in_band(run: Run) -> bool:
    """Tell whether ``irl.hold`` asks for no further IRL update of the policy as it is; False where it is not set.

    Entropy and greedy log-prob are both nearer to 0 the more a policy is squeezed: the band is |gauge| ≥ share · |gauge
    before training|, on the same prompts and from the same random numbers.
    """
    hold = run.recipe.irl.hold if run.recipe.irl is not None else None
    if hold is None:
        return False
    before = run.directory.journal.last("gauged", step=0)
    assert before is not None, "the gauges are read before training"
    measured = measure(run)
    now = measured.samples.entropy if hold.gauge == "entropy" else measured.greedy_logp
    return abs(now) >= hold.share * abs(float(before[hold.gauge]))
