"""Numbers in words: ``fifteen``, ``one half``, ``1.5 million``, ``a dozen``, ``十五``, ``二分之一``."""

import re
from fractions import Fraction

from unsqueeze.verify.texts import ARTICLES, plain_words

_UNITS_DIGITS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
_SMALL = {word: value for value, word in enumerate((_UNITS_DIGITS + "seventeen eighteen nineteen").split())}
_SCALES = {"dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_PARTS = {"half": 2, "halves": 2, "third": 3, "thirds": 3, "quarter": 4, "quarters": 4, "fourth": 4, "fourths": 4}
_PARTS |= {"fifth": 5, "fifths": 5, "sixth": 6, "sixths": 6, "eighth": 8, "eighths": 8, "tenth": 10, "tenths": 10}
_TENS_TEXT = "twenty thirty forty fifty sixty seventy eighty ninety"
_TENS = {word: 10 * (place + 2) for place, word in enumerate(_TENS_TEXT.split())}
_CHINESE = {digit: value for value, digit in enumerate("零一二三四五六七八九")} | {"两": 2, "〇": 0}
_CHINESE_SCALES = {"十": 10, "百": 100, "千": 1000}
_CHINESE_NUMBER = re.compile(f"[{''.join([*_CHINESE, *_CHINESE_SCALES])}]{{1,9}}")


def number_in_words(text: str) -> Fraction | None:
    """The value of ``fifteen``, ``twenty-one``, ``one half``, ``1.5 million``, ``a dozen``. None for anything else."""
    plain = plain_words(text)
    if not plain.isascii():
        return _chinese_number(plain.replace(" ", ""))
    words = plain.replace("-", " ").split()
    words = words[1:] if len(words) > 1 and words[0] in ARTICLES else words
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


def _chinese_number(text: str) -> Fraction | None:
    """The value of a number below ten thousand, or of a fraction, in Chinese words."""
    below, is_fraction, above = text.partition("分之")
    if is_fraction:
        bottom, top = _chinese_number(below), _chinese_number(above)
        return top / bottom if top is not None and bottom else None
    if not _CHINESE_NUMBER.fullmatch(text):
        return None
    value = 0
    digit: int | None = None
    for sign in text:
        if sign in _CHINESE:
            digit = _CHINESE[sign]
        else:
            value += (1 if digit is None else digit) * _CHINESE_SCALES[sign]
            digit = None
    return Fraction(value + (digit or 0))
