"""Words of messages: numbers with their nouns."""


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """Write a number with its noun: ``1 sample``, ``1,200 samples``. ``plural`` where an s is not enough."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def verb(count: int, singular: str, plural: str) -> str:
    """The verb that agrees with a number: ``verb(1, "was", "were")`` is ``was``."""
    return singular if count == 1 else plural
