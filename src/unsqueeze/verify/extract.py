r"""Find where in a response its answer stands: cheap text work, before anything symbolic.

Everything here is linear in the length of the response, so that a hostile megabyte costs milliseconds, and everything
agrees with what Math-Verify 0.9 would have read (tests compare the two on random texts).
"""

import re
from typing import Literal

from unsqueeze.errors import UserError

Credit = Literal["boxed", "final_answer", "anywhere"]
CREDITS: tuple[Credit, ...] = ("boxed", "final_answer", "anywhere")

_BOX = "\\boxed{"
_BRACE = re.compile(r"[{}]")
_MAX_BARE = 400
_MAX_TAIL = 64

# What may follow the box for it to be the last thing said: closers of its own math, full stops, emphasis.
_CLOSING_TAIL = re.compile(r"(?:[\s.$*!]|\\[)\]])*")
_MATH_DELIMITERS = re.compile(r"\$|\\[()\[\]]|\n")
_FINAL_ANSWER = re.compile("final answer", re.IGNORECASE)
_CHAIN = re.compile(r",|and|or")
_STATED = re.compile(r"\bis\b|answer", re.IGNORECASE)

_UNESCAPED_MATH = re.compile(r"(?<!\\)\$|\\\(|\\\[|\\boxed|\\fbox")
_SPACED_NUMBER = re.compile(r"[+-]?\d{1,3}(?: \d{3})+(?:\.\d+)?")
_TEXT_GROUP = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|mbox|operatorname)\s*\{[^{}]*\}")
_COMMAND = re.compile(r"\\[A-Za-z]+")
_WORD = re.compile(r"[A-Za-z]{2,}")
_SHORT_WORDS = frozenset(["is", "of", "to", "in", "it", "we", "so", "be", "by", "at", "as", "no", "if", "on", "an"])
_FUNCTIONS = ["sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "log"]
_MATH_WORDS = frozenset([*_FUNCTIONS, "exp", "sqrt", "inf", "infinity", "max", "min", "gcd", "lcm", "mod", "and", "or"])


def check_credit(credit: str) -> Credit:
    for allowed in CREDITS:
        if credit == allowed:
            return allowed
    raise UserError(f"credit is {credit!r}; it must be one of {', '.join(CREDITS)}.")


def _last_box(text: str) -> tuple[int, int, int] | None:
    r"""Find where the last ``\boxed{`` starts, where its content starts, and where its brace closes (-1: never)."""
    start = text.rfind(_BOX)
    if start < 0:
        return None
    opening = start + len(_BOX)
    depth = 1
    for brace in _BRACE.finditer(text, opening):
        depth += 1 if brace.group() == "{" else -1
        if depth == 0:
            return start, opening, brace.start()
    return start, opening, -1


def last_boxed(text: str) -> str | None:
    r"""The content of the last ``\boxed{…}``, trimmed. None where there is none, or the last one never closes.

    Braces are counted as Math-Verify counts them, ``\{`` and ``\}`` too.
    """
    box = _last_box(text)
    return None if box is None or box[2] < 0 else text[box[1] : box[2]].strip()


def conclusive_box(text: str) -> str | None:
    r"""The content of the only ``\boxed{…}`` of a response that ends with it, where Math-Verify surely reads that.

    Math-Verify ranks what it finds by how it was announced and then by how far right it ends. A single box with nothing
    after it but closing signs ends furthest right among the boxes and the "final answer is …" phrases; only a "final
    answer is … I hope …", or several formulas joined by commas or "and" into one final answer, would come before it or
    be merged with it. Whenever one of these could be, the answer here is None and the whole text has to be read.
    """
    box = _last_box(text)
    if box is None or box[2] < 0 or text.find("\\boxed") != box[0] or "\\fbox" in text:
        return None
    start, opening, closing = box
    content = text[opening:closing].strip()
    if not content or _MATH_DELIMITERS.search(content) or _STATED.search(content):
        return None
    if len(text) - closing > _MAX_TAIL or not _CLOSING_TAIL.fullmatch(text, closing + 1):
        return None
    announced = _FINAL_ANSWER.search(text)
    if announced and ("I hope" in text or _CHAIN.search(text, announced.end(), start)):
        return None
    return content


def _prose_words(text: str) -> list[str]:
    stripped = _COMMAND.sub(" ", _TEXT_GROUP.sub(" ", text))
    # bE is a product, be and Be are words
    words = [word.lower() for word in _WORD.findall(stripped) if len(word) > 2 or word[1].islower()]
    return [word for word in words if word in _SHORT_WORDS or (len(word) > 2 and word not in _MATH_WORDS)]


def _reads_as_formula(text: str) -> bool:
    """Tell whether a text without math delimiters is one formula, or one short phrase, rather than a sentence."""
    if _SPACED_NUMBER.fullmatch(text):
        return False  # inside math the parts of 1 000 would be multiplied
    words = _prose_words(text)
    if not words:
        return True
    if "answer" in words:
        return False
    if "\\" in text:
        return len(words) <= 2 and "is" not in words
    return len(words) <= 3 and not any(character.isdigit() for character in text)


def bare_answer(text: str) -> str | None:
    r"""A response that is nothing but a short answer, put between dollars for Math-Verify. None for anything else.

    ``2\sqrt{3}``, ``x = 5``, ``1, 2, 3``, ``[0, 1)``, ``Yes`` are such answers. A response with dollars, ``\(``,
    ``\[`` or a box of its own is left to Math-Verify as it stands, and so is a sentence, whose numbers it finds.
    """
    stripped = text.strip()
    if not stripped or len(stripped) > _MAX_BARE or "\n" in stripped or _UNESCAPED_MATH.search(stripped):
        return None
    return f"${stripped}$" if _reads_as_formula(stripped) else None


def gold_text(gold: str) -> str:
    """The gold answer as Math-Verify should read it: between dollars, unless it brings math signs or is a sentence."""
    stripped = " ".join(gold.split("\n")).strip()
    if _UNESCAPED_MATH.search(stripped) or not _reads_as_formula(stripped):
        return stripped
    return f"${stripped}$"
