r"""Answers that are words, compared as texts: ``Alice``, ``\text{June 20}``, ``n is odd or n = 2``, ``DACB``.

Words are no products of their letters, and a text with a number in it is not that number.
"""

import re
from itertools import pairwise

from unsqueeze.verify.normalise import IDEOGRAPHS, plain_characters
from unsqueeze.verify.units import canonical_unit, split_unit

MAX_TEXT = 300

_GROUP = re.compile(
    r"\\(?:text|textrm|textbf|textit|textnormal|texttt|mathrm|mathbf|mathit|mathsf|mbox|operatorname|emph|rm|bf)\s*"
    r"\{([^{}]*)\}"
)
_SPACING = re.compile(r"\\[,;:! ]|\\q?quad(?![A-Za-z])|~|\s+")
_OTHER_COMMAND = re.compile(r"\\[A-Za-z]+|[\\^_{}&]")
_NO_WORDS = re.compile(r"\\(?:begin|end)\s*\{[^{}]*\}|\\[A-Za-z]+")
_WORD = re.compile(r"[^\W\d_]{2,}")
_TOKEN = re.compile(r"[^\W\d_]+|\d+(?:[.,:/]\d+)*|[=<>+*/^()\[\]-]")
_MONTHS = "january|february|march|april|may|june|july|august|september|october|november|december"
_MONTH = re.compile(_MONTHS)
_DAY = re.compile(r"\b(\d{1,2})\s?(?:st|nd|rd|th)\b")
_DAY_FIRST = re.compile(rf"\b(\d{{1,2}})\s+(?:of\s+)?({_MONTHS})\b")
_LETTERS = re.compile(r"\(?\s*[A-Z](?:\s*(?:,|;|,?\s*and(?=\s)|\s)?\s*[A-Z]){1,9}\s*\)?\.?")
ARTICLES = frozenset(["a", "an", "the"])
_SHORT_WORDS_TEXT = "is of to in it we so be by at as no if on an up go he me my us do"
_SHORT_WORDS = frozenset(_SHORT_WORDS_TEXT.split())
_FUNCTIONS = ["sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "log"]
_OTHER_MATH = (
    "exp sqrt cbrt inf infinity max min gcd lcm mod and or lim det ln lg pi arg deg dim ker theta alpha beta gamma "
    "lambda percent"
)
MATH_WORDS = frozenset([*_FUNCTIONS, *_OTHER_MATH.split()])

_NO_SOLUTION_TEXT = (
    "no solution,no solutions,no real solution,no real solutions,there is no solution,there are no solutions,"
    "there is no real solution,there are no real solutions,empty set,the empty set,null set,the null set"
)
NO_SOLUTION = frozenset(_NO_SOLUTION_TEXT.split(","))


def unwrapped(text: str) -> str:
    r"""A text without ``\text{}`` and its like, spacing commands, emphasis and dollars."""
    for _ in range(4):
        text, count = _GROUP.subn(r" \1 ", text)
        if not count:
            break
    text = text.replace("\\$", " ").replace("$", " ").replace("**", " ").replace("`", " ")
    return _SPACING.sub(" ", text).strip()


def plain_words(text: str) -> str:
    """The form in which texts are compared: words in small letters, numbers, signs of relations; nothing else."""
    plain = unwrapped(plain_characters(text)).lower()
    if _MONTH.search(plain):
        plain = _DAY_FIRST.sub(r"\2 \1", _DAY.sub(r"\1", plain))
    tokens = _TOKEN.findall(plain)
    for place, token in enumerate(tokens[1:], start=1):
        if tokens[place - 1][0].isdigit() and (unit := canonical_unit(token)) is not None:
            tokens[place] = unit[0].lower()
    first = next((place for place, token in enumerate(tokens[:-1]) if token not in ARTICLES), len(tokens) - 1)
    tokens = tokens[max(first, 0) :]
    return " ".join(tokens[1:-1] if len(tokens) > 2 and tokens[0] == "(" and tokens[-1] == ")" else tokens)


def prose_words(text: str) -> list[str]:
    """The words of a text that are no functions, connectives, commands or runs of variables, in small letters."""
    stripped = _NO_WORDS.sub(" ", unwrapped(text))
    return [word.lower() for word in _WORD.findall(stripped) if is_word(word)]


def is_plain(text: str) -> bool:
    r"""Tell whether a text has no commands but ``\text{}`` and its like."""
    return _OTHER_COMMAND.search(unwrapped(text)) is None


def is_word(letters: str) -> bool:
    """Tell a word (or an order of letters, ``DACB``) from a product of variables (``ab``, ``xyz``, ``mgh``)."""
    small = letters.lower()
    if small in MATH_WORDS:
        return False
    if len(letters) == 2:
        return small in _SHORT_WORDS or not letters.isascii() or (letters[1].islower() and letters[0].isupper())
    if not letters.isascii() or len(letters) > 4:
        return True
    in_order = all(first < second for first, second in pairwise(small))
    if letters.isupper():
        return not in_order or len(letters) > 3
    return not in_order and (re.search("[aeiouy]", small) is not None or len(letters) > 3)


def is_text(answer: str) -> bool:
    r"""Tell whether a gold answer is words rather than mathematics.

    ``2 hours`` and ``x = 1 or x = 2`` are mathematics with a unit or a connective; ``June 20`` and ``10 red and 5
    blue`` are texts, and so are letters that form a word or an order, if nothing else stands there.
    """
    if len(answer) > MAX_TEXT:
        return False
    bare = unwrapped(answer)
    if not bare or not is_plain(answer):
        return False
    letters = bare.strip(" .()\"'")
    if letters.isalpha() and IDEOGRAPHS.search(letters):
        return True
    if letters.isalpha() and letters.isascii() and len(letters) >= 2 and letters.lower() not in MATH_WORDS:
        return is_word(letters) or letters.isupper()
    if not prose_words(bare):
        return False
    parts = re.split(r",|;|\band\b|\bor\b", answer)
    return not all(
        split_unit(part.strip(), spaced=True).unit or not prose_words(part) for part in parts if part.strip()
    )


def listed_letters(text: str) -> str | None:
    """The letters of ``AC``, ``A, C``, ``A and C``, in their order. None for anything else."""
    bare = unwrapped(plain_characters(text)) if len(text) <= MAX_TEXT else ""
    return "".join(re.findall("[A-Z]", bare)) if _LETTERS.fullmatch(bare) else None
