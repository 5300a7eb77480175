"""An entropy bonus that is there while the entropy is below a target (arXiv 2505.22312)."""


def applied_coefficient(coefficient: float, entropy: float, target: float) -> float:
    """The coefficient of the bonus of this step: c while H < H*, else 0. H and H* in nats per token."""
    return coefficient if entropy < target else 0.0


def next_coefficient(coefficient: float, entropy: float, target: float, *, delta: float, largest: float) -> float:
    """The coefficient of the next step: c + δ while H < H*, c − δ where H > H*, kept in [0, ``largest``]."""
    change = delta if entropy < target else -delta if entropy > target else 0.0
    return min(max(coefficient + change, 0.0), largest)
