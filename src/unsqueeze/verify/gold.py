r"""Gold answers: what kind each is, and how Math-Verify should read it.

A gold answer is a letter of multiple choice, a text, or mathematics. One that is none of these (``???``, half a
fraction, a drawing, a paragraph) says nothing about an answer: nothing but the same text can be judged against it.
"""

import re
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from typing import Literal

from unsqueeze.verify.choice import ChoiceGold, choice_gold
from unsqueeze.verify.exact import exact_number
from unsqueeze.verify.extract import boxes_at_end, one_spelling
from unsqueeze.verify.normalise import latex_of_unicode, plain_characters, without_delimiters
from unsqueeze.verify.spelled import number_in_words
from unsqueeze.verify.texts import is_plain, is_text, listed_letters, plain_words, prose_words

Kind = Literal["empty", "unreadable", "text", "mathematics"]

_DRAWING = re.compile(r"\\begin\s*\{(?:tikzpicture|asy|figure|picture|tabular)\}|\[asy\]|\\includegraphics|<svg|!\[")
_SOMETHING = re.compile(r"[^\W_]|\\(?:emptyset|varnothing|infty|pi|alpha|beta|theta|phi|lambda|omega)|[∅∞]|\{\s*\\?\}")
_STATED = re.compile(
    r"(?:\banswer|\bresult)\s*(?:is|=|:)\s*(?P<value>[^\s].{0,80}?)\s*\.?\s*$", re.IGNORECASE | re.DOTALL
)
_MAX_WORDS = 12
_SENTENCE_WORDS = 6
_NO_ANSWERS = frozenset(["n/a", "nan", "null", "tbd"])
_ELSEWHERE = re.compile(
    r"\s*(?:\\text\s*\{)?\s*(?:(?:see|refer to)\s+(?:the\s+|an?\s+)?(?:figure|diagram|graph|picture|solution|image"
    r"|table|above|below|explanation|proof|work)|answers?\s+(?:may|will)\s+vary|(?:no\s+answer|not)\s+(?:given|provided"
    r"|available)|(?:answer\s+)?omitted|proof)\b[^0-9]*$",
    re.IGNORECASE,
)
_MAX_GOLD = 4_000
_MAX_SOLUTION = 100_000


@dataclass(frozen=True, slots=True)
class Gold:
    """A gold answer as it was read.

    ``text`` is the form in which texts are compared; ``formula`` what Math-Verify is given, where the answer is
    mathematics; ``number`` its value, where it is an integer or a plain fraction; ``choice`` its letter, ``letters``
    all of several, as a text. ``spelled``: it is a number in words. ``has_words``: it is mathematics with words, such
    as a unit, and no LaTeX.
    """

    kind: Kind
    text: str
    formula: str = ""
    number: Fraction | None = None
    choice: ChoiceGold | None = None
    letters: str | None = None
    spelled: bool = False
    has_words: bool = False

    @property
    def is_textual(self) -> bool:
        """Tell whether its text may settle a verdict before anything is read as mathematics."""
        return self.choice is not None or self.letters is not None or self.kind != "mathematics" or self.has_words


@lru_cache(maxsize=8192)
def read_gold(gold: str) -> Gold:
    """Find out what a gold answer is."""
    answer = _answer_of(gold)
    if not answer:
        return Gold("empty", "")
    choice = choice_gold(answer)
    if choice is not None and choice.value is not None:
        value = _read(choice.value)
        return replace(value, choice=choice)
    return replace(_read(answer), choice=choice)


def _answer_of(gold: str) -> str:
    """The answer in what may be a whole solution: behind ``####``, or in its last box."""
    answer = gold.strip()
    if len(answer) > _MAX_SOLUTION:
        return "?"
    if "####" in answer:
        answer = answer.rpartition("####")[2].strip()
    boxed = boxes_at_end(one_spelling(answer)) if "box" in answer else None
    return boxed.content if boxed else answer


def _read(answer: str) -> Gold:
    if len(answer) > _MAX_GOLD:
        return Gold("unreadable", "")
    bare = without_delimiters(plain_characters(answer))
    text = plain_words(bare)
    if not _is_readable(bare):
        return Gold("unreadable", text)
    spelled_out = latex_of_unicode(bare)
    words = prose_words(spelled_out)
    if "answer" in words and (stated := _STATED.search(bare[-200:])):
        return _read(stated["value"])
    if len(words) > _MAX_WORDS or (bare.rstrip().endswith(".") and len(words) >= _SENTENCE_WORDS):
        stated = _STATED.search(bare[-200:])
        return _read(stated["value"]) if stated else Gold("unreadable", text)
    if bare[:1].isdigit() and "dozen" not in bare and (number := number_in_words(bare)) is not None:
        return Gold("mathematics", text, f"${number}$", number)
    if is_text(spelled_out):
        return Gold("text", text, letters=listed_letters(bare), spelled=_is_spelled_number(bare))
    has_words = bool(words) and is_plain(spelled_out)
    letters = listed_letters(bare) if "," in bare else None
    return Gold("mathematics", text, f"${spelled_out}$", exact_number(bare), letters=letters, has_words=has_words)


def _is_spelled_number(text: str) -> bool:
    words = plain_words(text).split()
    parts = [" ".join(words), *words]
    return any(number_in_words(part) is not None for part in parts[:1]) or (
        len(words) > 1
        and all(word in ("hundred", "thousand", "and") or number_in_words(word) is not None for word in words)
    )


def _is_readable(text: str) -> bool:
    if (
        text.strip().lower() in _NO_ANSWERS
        or _ELSEWHERE.match(text)
        or _DRAWING.search(text)
        or not _SOMETHING.search(text)
    ):
        return False
    braces = re.sub(r"\\[{}]", "", text)
    depth = 0
    for brace in braces:
        depth += (brace == "{") - (brace == "}")
        if depth < 0:
            return False
    return depth == 0
