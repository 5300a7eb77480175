r"""Answers that are words, compared as texts: ``Alice``, ``\text{June 20}``, ``n is odd or n = 2``, ``DACB``.

Words are no products of their letters, and a text with a number in it is not that number.
"""

import re
from fractions import Fraction
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
_ARTICLES = frozenset(["a", "an", "the"])
_SHORT_WORDS_TEXT = "is of to in it we so be by at as no if on an up go he me my us do"
_SHORT_WORDS = frozenset(_SHORT_WORDS_TEXT.split())
_FUNCTIONS = ["sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "log"]
_OTHER_MATH = (
    "exp sqrt cbrt inf infinity max min gcd lcm mod and or lim det ln lg pi arg deg dim ker theta alpha beta gamma "
    "lambda percent"
)
MATH_WORDS = frozenset([*_FUNCTIONS, *_OTHER_MATH.split()])
_UNITS_DIGITS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
_SMALL = {word: value for value, word in enumerate((_UNITS_DIGITS + "seventeen eighteen nineteen").split())}
_SCALES = {"dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_PARTS = {"half": 2, "halves": 2, "third": 3, "thirds": 3, "quarter": 4, "quarters": 4, "fourth": 4, "fourths": 4}
_PARTS |= {"fifth": 5, "fifths": 5, "sixth": 6, "sixths": 6, "eighth": 8, "eighths": 8, "tenth": 10, "tenths": 10}
_TENS_TEXT = "twenty thirty forty fifty sixty seventy eighty ninety"
_TENS = {word: 10 * (place + 2) for place, word in enumerate(_TENS_TEXT.split())}


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
    first = next((place for place, token in enumerate(tokens[:-1]) if token not in _ARTICLES), len(tokens) - 1)
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


def number_in_words(text: str) -> Fraction | None:
    """The value of ``fifteen``, ``twenty-one``, ``one half``, ``1.5 million``, ``a dozen``. None for anything else."""
    words = plain_words(text).replace("-", " ").split()
    words = words[1:] if len(words) > 1 and words[0] in _ARTICLES else words
    scale = Fraction(1)
    while words and words[-1] in _SCALES:
        scale *= _SCALES[words.pop()]
    if scale != 1:
        value = _small_number(words) if words else Fraction(1)
        return None if value is None else value * scale
    if words and words[-1] in _PARTS:
        parts = _small_number(words[:-1]) if len(words) > 1 else Fraction(1)
        return None if parts is None else parts / _PARTS[words[-1]]
    return None if any(word[0].isdigit() for word in words) else _small_number(words)


def _small_number(words: list[str]) -> Fraction | None:
    if len(words) == 1:
        if re.fullmatch(r"\d{1,12}(?:\.\d{1,12})?", words[0]):
            return Fraction(words[0])
        value = _SMALL.get(words[0], _TENS.get(words[0]))
        return None if value is None else Fraction(value)
    if len(words) == 2 and words[0] in _TENS and 0 < _SMALL.get(words[1], 0) < 10:
        return Fraction(_TENS[words[0]] + _SMALL[words[1]])
    return None
