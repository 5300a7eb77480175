"""Answers as votes."""

import re
from collections.abc import Hashable

from unsqueeze.verify.exact import exact_number

_SPACING = re.compile(r"\s+|\\[,;:! ]|\\left|\\right|\$")


def as_vote(extracted: object) -> Hashable | None:
    """An answer as something that equal answers share: a number, or the text without its spacing."""
    if not isinstance(extracted, str) or not extracted.strip():
        return None
    number = exact_number(extracted)
    if number is not None:
        return number
    # A fixed few bytes an answer, however long it is.
    return hash(_SPACING.sub("", extracted).replace("dfrac", "frac").replace("tfrac", "frac"))
