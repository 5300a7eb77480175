"""Number of problems that it takes to see a difference."""

from math import ceil, isfinite
from statistics import NormalDist

from unsqueeze.errors import UserError


def required_problems(difference: float, std: float, *, confidence: float = 0.95, power: float = 0.8) -> int:
    """Problems needed to see a mean paired difference of ``difference``, in the unit of ``std``.

    n = ((z_{(1+confidence)/2} + z_{power}) · std / difference)², rounded up, at least 2: the two-sided test at
    ``1 - confidence`` then finds a difference that is there with probability ``power`` (normal approximation). ``std``
    is the standard deviation of the paired differences between problems (``PairedDifference.std``). It does not shrink
    with more samples a problem below what truly differs between problems. Raises UserError for values that cannot be.
    """
    if not (isfinite(difference) and difference > 0):
        raise UserError(f"required problems: the difference to see is {difference}; it must be more than 0.")
    if not (isfinite(std) and std >= 0):
        raise UserError(f"required problems: the standard deviation is {std}; it must be 0 or more.")
    if not 0 < confidence < 1 or not 0 < power < 1:
        raise UserError(f"required problems: confidence {confidence} and power {power} must lie between 0 and 1.")
    z = NormalDist().inv_cdf
    return max(2, ceil(((z((1 + confidence) / 2) + z(power)) * std / difference) ** 2))
