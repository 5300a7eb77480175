r"""Find where in a response its answer stands: cheap text work, before anything symbolic.

Everything here is linear in the length of the response, so that a hostile megabyte costs milliseconds.
"""

import re
from dataclasses import dataclass
from typing import Literal

from unsqueeze.errors import UserError

Credit = Literal["boxed", "final_answer", "anywhere"]
CREDITS: tuple[Credit, ...] = ("boxed", "final_answer", "anywhere")

_BRACE = re.compile(r"[{}]")
_MAX_TAIL = 64
_MAX_GAP = 48
_MAX_BOXES = 32
_NEAR = 12

# ``\boxed{…}``, ``\boxed {…}``, ``\fbox{…}``, ``\boxed5``; what opens a box is made ``\boxed{`` by ``one_spelling``.
_BOX = "\\boxed{"
_OTHER_BOXES = re.compile(
    r"\\(?:boxed\s{1,4}|f(?:rame)?box\s{0,4})\{|\\(?:boxed|fbox)[ \t]{0,4}(-?\d{1,30}(?:\.\d{1,30})?)"
)

# What may follow the box for it to be the last thing said: closers of its own math, full stops, emphasis.
_CLOSING_TAIL = re.compile(r"(?:[\s.$*!]|\\[)\]])*")
_MATH_DELIMITERS = re.compile(r"\$|\\[()\[\]]|\n")
_FINAL_ANSWER = re.compile("final answer", re.IGNORECASE)
_CHAIN = re.compile(r",|and|or")
_STATED = re.compile(r"\bis\b|answer", re.IGNORECASE)
# What may stand between the boxes of one answer: signs, "and", "or", the name of the next value.
_BETWEEN_BOXES = re.compile(
    r"(?:[\s$.,;&*]|\\[()\[\],;: ]|\\q?quad)*(?:(?:and|or|\\text\s?\{\s*(?:and|or)\s*\})(?![A-Za-z]))?"
    r"(?:[\s$.,;&*]|\\[()\[\],;: ]|\\q?quad)*(?:[A-Za-z](?:_\{?\w\}?)?\s?[=:]\s?)?"
)

_THOUGHT_OPENS = re.compile(r"<(?:think|thinking|thought|reasoning)>|◁think▷", re.IGNORECASE)
_THOUGHT_CLOSES = re.compile(r"</(?:think|thinking|thought|reasoning)>|◁/think▷", re.IGNORECASE)
_NEXT_QUESTION = re.compile(r"\n[ \t]{0,8}(?:\*\*)?(?:Question|Problem|Human|User|Q)\s?(?:\d{1,4}\s?)?:")
_ANSWERED = re.compile(r"####|\\boxed\s?\{|\banswer\s?(?:is|:)", re.IGNORECASE)


def check_credit(credit: str) -> Credit:
    for allowed in CREDITS:
        if credit == allowed:
            return allowed
    raise UserError(f"credit is {credit!r}; it must be one of {', '.join(CREDITS)}.")


def after_thinking(response: str) -> str | None:
    """The response without what stands in ``<think>…</think>``. None where the thought was cut off before any answer.

    A thought may have been opened by the prompt, so that only its end stands here.
    """
    if "<" not in response and "◁" not in response:
        return response
    end = 0
    for closing in _THOUGHT_CLOSES.finditer(response):
        end = closing.end()
    opening = _THOUGHT_OPENS.search(response, end)
    answer = response[end : opening.start()] if opening else response[end:]
    return None if opening and not answer.strip() else answer


def first_turn(response: str) -> str:
    """The response up to a next question of its own making (``\n\nQuestion: …``), where an answer stands before it."""
    if ":" not in response:
        return response
    for question in _NEXT_QUESTION.finditer(response):
        if _ANSWERED.search(response, 0, question.start()):
            return response[: question.start()]
        break
    return response


def one_spelling(response: str) -> str:
    r"""The response with all its boxes spelled ``\boxed{…}``."""
    if "box" not in response:
        return response
    return _OTHER_BOXES.sub(lambda box: f"{_BOX}{box[1]}}}" if box[1] else _BOX, response)


def tagged_answer(response: str) -> str:
    """Return what stands between the last ``<answer>`` tags, where there are any; else the response."""
    end = response.rfind("</answer>")
    start = response.rfind("<answer>", 0, end) if end >= 0 else -1
    return response[start + len("<answer>") : end].strip() if start >= 0 else response


@dataclass(frozen=True, slots=True)
class Boxed:
    """The content of the last box, or of the last boxes as one list, and where they stand."""

    content: str
    start: int
    end: int
    num_boxes: int = 1


def _last_box(text: str, before: int | None = None) -> tuple[int, int, int] | None:
    r"""Find where the last ``\boxed{`` starts, where its content starts, and where its brace closes (-1: never)."""
    start = text.rfind(_BOX, 0, before)
    if start < 0:
        return None
    opening = start + len(_BOX)
    depth = 1
    for brace in _BRACE.finditer(text, opening, len(text) if before is None else before):
        depth += 1 if brace.group() == "{" else -1
        if depth == 0:
            return start, opening, brace.start()
    return start, opening, -1


def last_boxed(text: str) -> str | None:
    r"""The content of the last ``\boxed{…}``, trimmed. None where there is none, or the last one never closes.

    Braces are counted as Math-Verify counts them, ``\{`` and ``\}`` too.
    """
    text = one_spelling(text)
    box = _last_box(text)
    return None if box is None or box[2] < 0 else text[box[1] : box[2]].strip()


def boxes_at_end(text: str) -> Boxed | None:
    r"""The last box of a text in one spelling, together with those right before it.

    Boxes with nothing between them but signs, "and", "or" or the name of the next value are one answer:
    ``\boxed{2}, \boxed{5}`` is the list 2, 5. None where there is no box, or the last one never closes.
    """
    box = _last_box(text)
    if box is None or box[2] < 0:
        return None
    start, opening, closing = box
    contents = [text[opening:closing].strip()]
    end = closing + 1
    while len(contents) < _MAX_BOXES:
        before = _last_box(text, start)
        if before is None or before[2] < 0 or start - before[2] > _MAX_GAP:
            break
        if not _BETWEEN_BOXES.fullmatch(text, before[2] + 1, start):
            break
        start = before[0]
        contents.append(text[before[1] : before[2]].strip())
    distinct = list(dict.fromkeys(reversed(contents)))
    return Boxed(", ".join(distinct), start, end, len(distinct))


def without_earlier_boxes(text: str) -> str:
    """A text whose boxes before the last answer are opened, where more than a few signs part them from it.

    Math-Verify joins boxes that words as far as seventy characters apart connect ("looked like …, but then …").
    """
    boxed = boxes_at_end(text)
    if boxed is None:
        return text
    before = text.rfind("}", 0, boxed.start)
    if before < 0 or boxed.start - before < _NEAR or _BOX not in text[:before]:
        return text
    return text[: boxed.start].replace(_BOX, "{") + text[boxed.start :]


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


def concluding_boxes(text: str) -> Boxed | None:
    """The boxes that a response ends with as one list, where they are more than one."""
    boxed = boxes_at_end(text)
    if boxed is None or boxed.num_boxes < 2 or len(text) - boxed.end > _MAX_TAIL:
        return None
    return boxed if _CLOSING_TAIL.fullmatch(text, boxed.end) else None
