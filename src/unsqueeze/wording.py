"""Words of messages: numbers with their nouns and verbs."""


def counted(count: int, noun: str, singular: str = "", plural: str = "") -> str:
    """Write a number with its noun, and with the verb that agrees: ``counted(1200, "line", "is", "are")`` is ``1,200
    lines are``, of one ``1 line is``.
    """
    verb_of_it = verb(count, singular, plural)
    return f"{count:,} {noun if count == 1 else noun + 's'}{' ' + verb_of_it if verb_of_it else ''}"


def verb(count: int, singular: str, plural: str) -> str:
    """Return the word that agrees with a number: ``verb(1, "was", "were")`` is ``was``."""
    return singular if count == 1 else plural
