r"""Bare answers: a response of one short line that is its answer, with little around it.

``2\sqrt{3}``, ``x = 5``, ``Thus \frac{1}{2}.``, ``**15**``, ``€15``, ``A: 15``, ``答案是 15``.
"""

import re

from unsqueeze.verify.normalise import IDEOGRAPHS, latex_of_unicode, plain_characters
from unsqueeze.verify.texts import prose_words, unwrapped
from unsqueeze.verify.units import split_unit

_MAX_BARE = 400
_UNESCAPED_MATH = re.compile(r"(?<!\\)\$|\\\(|\\\[|\\boxed|\\fbox")
_SPACED_NUMBER = re.compile(r"[+-]?\d{1,3}(?: \d{3})+(?:\.\d+)?")
_ANNOUNCED = re.compile(
    r"(?:(?:so|thus|hence|therefore|then|finally|and|there is|there are|there exists|we get"
    r"|we have|we find|it is|it's|the|final|correct|my|our|all|in all|either|both)"
    r"[\s,:]+){0,5}(?:(?:answer|result|solution|total|ans|a|antwort|ответ|réponse|respuesta|risposta|resposta)"
    r"\s*(?:is|are|=|:|lautet|ist|est|es)\s*)?",
    re.IGNORECASE,
)
_ANNOUNCED_WITHOUT_SPACES = re.compile(
    r"^(?:所以|因此|故|则)?(?:最终)?(?:答案|答|答え|정답|답)(?:是|为|為|は|은|는)?\s*[:：]?\s*"
)
_ABOUT = re.compile(r"(?:about|approximately|roughly|around|exactly|approx\.?|~|≈|\\approx|\\sim|=)\s*", re.IGNORECASE)
_WRAPPED = re.compile(r"\*{1,3}([^*]+)\*{1,3}|`([^`]+)`|\"([^\"]+)\"|_{2}([^_]+)_{2}|<([^<>]+)>|#\s?([^#]+)")
_SAID = re.compile(r"^.*\b(?:is|are|equals)\s([^.=]*)$")
_TRAILING = re.compile(r"[\s.,;:]+$")


def undecorated(text: str) -> str:
    """A short answer without what announces it, emphasis, quotes and the full stop."""
    text = text.strip()
    for _ in range(4):
        before = text
        if wrapped := _WRAPPED.fullmatch(text):
            text = next(group for group in wrapped.groups() if group is not None).strip()
        text = text.removeprefix("**").removesuffix("**") if text.count("**") == 1 else text
        text = _TRAILING.sub("", text)
        text = _ANNOUNCED_WITHOUT_SPACES.sub("", text, count=1)
        announced = _ANNOUNCED.match(text)
        if announced and announced.end() < len(text) and not _is_name(text, announced.end()):
            text = text[announced.end() :].lstrip("* ")
        about = _ABOUT.match(text)
        if about and about.end() < len(text):
            text = text[about.end() :]
        if text == before:
            break
    return text


def _is_name(text: str, end: int) -> bool:
    """Tell whether what seems to announce the answer is the name of a value (``a = 5``)."""
    return "=" in text[:end] and len(text[:end].split("=")[0].strip()) <= 1


def reads_as_formula(text: str) -> bool:
    """Tell whether a text without math delimiters is one formula, or one short phrase, rather than a sentence."""
    if IDEOGRAPHS.search(text):
        return False
    words = prose_words(text)
    if not words or (len(words) <= 6 and _all_with_units(text)):
        return True
    if "answer" in words:
        return False
    if "\\" in text:
        return len(words) <= 2 and "is" not in words
    return len(words) <= 3 and not any(character.isdigit() for character in text)


def _all_with_units(text: str) -> bool:
    parts = re.split(r",|;|\band\b", text)
    return all(split_unit(part.strip(), spaced=True).unit for part in parts)


def bare_answer(text: str) -> str | None:
    r"""A response that is nothing but a short answer, put between dollars for Math-Verify. None for anything else.

    A response with dollars, ``\(``, ``\[`` or a box of its own is left to Math-Verify as it stands, and so is a
    sentence, whose numbers it finds.
    """
    stripped = text.strip()
    if not stripped or len(stripped) > _MAX_BARE or "\n" in stripped or _UNESCAPED_MATH.search(stripped):
        return None
    stripped = latex_of_unicode(undecorated(plain_characters(stripped)))
    if not stripped:
        return None
    if _SPACED_NUMBER.fullmatch(stripped) or reads_as_formula(stripped):
        return f"${stripped}$"
    said = _SAID.search(stripped)
    if said and "\\" in said[1] and reads_as_formula(said[1]):
        return f"${said[1]}$"
    return None


def short_text(text: str) -> str | None:
    """A response of one short line as a text, without what announces it."""
    stripped = text.strip()
    if not stripped or len(stripped) > _MAX_BARE or "\n" in stripped:
        return None
    return undecorated(unwrapped(plain_characters(stripped)))
