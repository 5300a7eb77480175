r"""Letters of multiple choice (MMLU, GPQA): found as text, since Math-Verify knows letters only as symbols.

Applies where the gold answer is one letter A–J, alone or before its value (``(B) 12``). A statement ("the answer is
B", ``Answer: [B]``) beats a mention ("option C is too large"); of several statements the last counts; two letters given
as one answer ("A or B") are no letter.
"""

import re
from dataclasses import dataclass
from typing import Final

from unsqueeze.verify.extract import Credit, boxes_at_end
from unsqueeze.verify.normalise import plain_characters

HEDGE: Final = "several letters"
"""Stands for an answer that gives more than one letter: no gold letter is equal to it."""

_MAX_OPTION = 400
_MAX_DECORATED = 4_000
_WRAPPERS = (
    re.compile(r"\$+(.*?)\$+\.?", re.DOTALL),
    re.compile(r"\\[(\[](.*?)\\[)\]]\.?", re.DOTALL),
    re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|bf|rm|boxed|fbox)\s*\{([^{}]*)\}\.?", re.DOTALL),
    re.compile(r"\*{1,3}([^*]*)\*{1,3}\.?", re.DOTALL),
    re.compile(r"[\"'`]+([^\"'`]*)[\"'`]+\.?", re.DOTALL),
    re.compile(r"\(([^()]*)\)\.?|\[([^\[\]]*)\]\.?|<([^<>]*)>\.?|\{([^{}]*)\}\.?", re.DOTALL),
)
_STYLES = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|bf|rm)\s*\{((?:[^{}])*)\}")
_SPACING = re.compile(r"\\[,;:! ]|\\q?quad(?![A-Za-z])|~")
# A letter alone; one in brackets before anything; one with a mark before a space and the option's text.
_ALONE = re.compile(r"([A-Ja-j])\s*[.:),]?")
_IN_BRACKETS = re.compile(r"[(\[]\s*([A-Ja-j])\s*[)\]]\s*[.:,]?\s*(.*)", re.DOTALL)
_WITH_TEXT = re.compile(
    r"([A-Ja-j])\s?[.:)]\s+(.*)|([A-Ja-j])\s?\)(\S.*)|([A-J]),\s((?:because|since|as)\s.*)", re.DOTALL
)
_OTHER_LETTER = re.compile(
    r"[\s,]*(?:or|and|and/or|/|&|,|\\text\{\s*(?:or|and)\s*\})[\s,]*[\"'*($\[{<]*\s*([A-J])(?![A-Za-z0-9'’])",
    re.IGNORECASE,
)
_NAMED = re.compile(r"^(?:option|choice|answer)\s{1,3}(?=[(\[]?[A-J](?![A-Za-z]))", re.IGNORECASE)
_FURTHER_LETTERS = re.compile(r"^\s*[(\[]?[A-J][)\].:]*(?:\s*[(\[]?[A-J][)\].:]*)*\s*$|(?:^|[\s,;])[(\[]?[A-J][.:)]\s")
_CONNECTED = re.compile(r"(?:or|and|/|,|&)(?![A-Za-z])", re.IGNORECASE)

_WORDS = "answer|option|choice|antwort|ответ|réponse|reponse|respuesta|risposta|resposta|答案|选项|答え|答|정답|답|正解"
_OPEN = r"(?:[\s*\"'`$(\[{<]|\\[(\[]|\\(?:text|textbf|mathrm|mathbf|boxed|fbox)\s{0,3}\{)"
_LETTER = r"(?P<letter>[A-J](?<!I)(?![A-Za-z0-9'’]|\s?=)|(?<=[(\[{*])[a-j](?=[)\]}*]))"
_IS = r"(?i:is|are|must be|should be|would be|has to be|was|lautet|ist|est|es|è|é)"
_FILLER = (
    r"(?:\s{1,3}(?i:for sure|definitely|clearly|certainly|surely|therefore|thus|hence|then|simply|most likely|probably"
    r"|likely|indeed|obviously|option|choice|answer|letter|the|correct|best|to be))"
)
_STATED = re.compile(
    rf"(?i:{_WORDS})[*_]{{0,3}}(?:\s{{1,3}}(?:(?i:here|then|now|below)\s)?{_IS}{_FILLER}{{0,4}}\s?:?|\s?[:=]|\s?[为是은는は])(?:{_OPEN}|(?i:option|choice)\s)"
    rf"{{0,12}}{_LETTER}"
)
_CHOSEN = re.compile(
    rf"(?i:i'd say|i would say|hence choice|hence option|so choice|so option|pick|choose|chose|select"
    r"|go with|going with|it's|it is|must be|has to be|leaves|leaving|故选|选择|选|應選)"
    rf"(?:\s(?i:option|choice|answer|letter))?:?{_OPEN}{{0,8}}{_LETTER}"
    rf"|(?i:so|thus|hence|therefore),?\s\((?P<bracketed>[A-J])\)\.?(?=\s|$)"
)
_SHUT = r"[\"'`*)\]$}>]{0,4}\s{1,3}"
_LEFT_OVER = re.compile(
    rf"(?i:only)(?:\s(?i:option|choice|answer))?{_OPEN}{{0,8}}{_LETTER}{_SHUT}"
    r"(?i:is|remains|can be|works|fits|could be)\b"
)
_LABELLED = re.compile(
    rf"(?:(?i:option|choice|answer){_OPEN}{{1,8}}|(?:^|[.,\n])[\s*(]{{0,4}}){_LETTER}{_SHUT}(?i:is|looks|seems)\s{{1,3}}(?i:the\s)?(?i:correct|right|answer|best)"
)
_NEGATED = re.compile(r"\b(?:not|isn't|never|neither|cannot|can't|n't)\s*[*_\"'(]*$", re.IGNORECASE)
_CLOSED = re.compile(r"[\"'`*)\]}>$\s]{0,6}")
_LABELLED_LINE = re.compile(r"^[\s*(]{0,4}[A-J][.):]", re.MULTILINE)
_REMARK = re.compile(r"\b(?!and\b|or\b|both\b|either\b)[a-z]{2,}")
_LINE_MARKS = re.compile(r"^[\s#>*✅☑✔-]*(?i:final\s+)?(?i:answer)?[\s:]*")


@dataclass(frozen=True, slots=True)
class ChoiceGold:
    """A gold answer of multiple choice: its letter, and the value that stands after it, if one does."""

    letter: str
    value: str | None = None


def _unwrapped(text: str) -> str:
    stripped = text.strip()
    for _ in _WRAPPERS:
        before = stripped
        for wrapper in _WRAPPERS:
            match = wrapper.fullmatch(stripped)
            if match:
                stripped = next(group for group in match.groups() if group is not None).strip()
        if stripped == before:
            break
    return stripped


def letter_and_text(text: str) -> tuple[str, str] | None:
    r"""The letter that a short answer begins with as its label, and what follows it. None where there is no label.

    ``A``, ``(A)``, ``**A**``, ``A. text``, ``d) 12``, ``\textbf{(B)}\ 12``, ``\text{B. } 12``. For two letters
    ("A or B", ``A, B``) the letter is HEDGE.
    """
    if len(text) > _MAX_OPTION:
        return None
    alone = _unwrapped(text)
    if _ALONE.fullmatch(alone):
        return alone[0].upper(), ""
    flat = _SPACING.sub(" ", text)
    for _ in range(3):
        flat = _STYLES.sub(r"\1 ", flat)
    flat = _NAMED.sub("", re.sub(r"\*\*", "", flat).strip().strip("$").strip())
    if _ALONE.fullmatch(flat):
        return flat[0].upper(), ""
    if match := _IN_BRACKETS.fullmatch(flat):
        letter, rest = match[1], match[2]
    elif match := _WITH_TEXT.fullmatch(flat):
        letter, rest = (group for group in match.groups() if group is not None)
    else:
        first = re.match(r"[\s($*\[]*([A-J])(?![A-Za-z0-9'’])[)\]*$]*", flat)
        return (HEDGE, "") if first and _OTHER_LETTER.match(flat, first.end()) else None
    if (_CONNECTED.match(rest) and _OTHER_LETTER.match(" " + rest)) or _FURTHER_LETTERS.search(rest):
        return HEDGE, ""
    is_sign = re.match(r"[-+][^\s]", rest) is not None and flat[: -len(rest)].endswith(" ")
    if re.match(r"[-+*/^=<>_]", rest) and not is_sign:
        return None  # (A) + 3 is a formula
    return letter.upper(), rest.strip()


def choice_letter(text: str) -> str | None:
    r"""The letter of ``A``, ``(A)``, ``\text{A}``, ``$A$``, ``**A**``, ``A. the option's text``. None for others."""
    found = letter_and_text(text)
    return found[0] if found and found[0] != HEDGE else None


def gold_letter(gold: str) -> str | None:
    """The letter of a gold answer that is one capital letter and nothing else."""
    alone = _unwrapped(gold).rstrip(")").strip() if len(gold.strip()) <= 20 and "." not in gold else ""
    return alone if re.fullmatch("[A-J]", alone) else None


def choice_gold(gold: str) -> ChoiceGold | None:
    """The letter, and perhaps the value, of a gold answer of multiple choice. None where it is none.

    The small letters e and i are numbers, not choices.
    """
    found = letter_and_text(gold)
    if found is None or found[0] == HEDGE:
        return None
    letter, rest = found
    bare = _unwrapped(gold)
    if not rest:
        return None if bare in ("e", "i") else ChoiceGold(letter)
    if re.search(r"[(\s][B-Jb-j][).]\s", rest) or (bare[:1].islower() and not gold.lstrip("$ ").startswith("(")):
        return None  # several parts, or a name before a colon
    return ChoiceGold(letter, rest)


def find_choice(response: str, credit: Credit) -> str | None:
    """The letter that a response gives as its answer, from where credit may come; HEDGE where it gives several.

    None where no letter stands as the answer.
    """
    boxed = boxes_at_end(response)
    if credit == "boxed":
        return None if boxed is None else _letter_of(boxed.content)
    if boxed is not None:
        letter = _letter_of(boxed.content)
        return letter or _last_statement(response[boxed.end :])
    text = plain_characters(response)
    if credit == "final_answer":
        return _last_statement(text)
    stripped = text.strip()
    first, several_lines, _ = stripped[:_MAX_OPTION].partition("\n")
    if not several_lines:
        whole = _letter_of(stripped) or _letter_alone(_LINE_MARKS.sub("", stripped, count=1))
        return (_last_statement(text) or whole) if whole == HEDGE else whole or _last_statement(text)
    last = stripped[-_MAX_OPTION:].rpartition("\n")[2]
    letter = stated = _last_statement(text)
    if stated != HEDGE:
        alone = _letter_alone(_LINE_MARKS.sub("", last, count=1))
        is_remark = alone == HEDGE and _REMARK.search(last) is not None  # "A and B ignore drag"
        letter = stated if is_remark else alone or stated
    if letter or len(_LABELLED_LINE.findall(stripped)) > 1:
        return letter
    return _letter_of(last) or _letter_of(first)


def _letter_of(text: str) -> str | None:
    found = letter_and_text(plain_characters(text))
    return None if found is None else found[0]


def _letter_alone(line: str) -> str | None:
    found = letter_and_text(line)
    return found[0] if found and not found[1] else None


def _last_statement(text: str) -> str | None:
    """The letter of the last statement of the answer. A weaker kind of statement counts where there is no stronger."""
    for pattern in (_STATED, _LABELLED, _LEFT_OVER, _CHOSEN):
        letters = []
        for match in pattern.finditer(text):
            name = "letter" if match["letter"] else "bracketed"
            if _NEGATED.search(text, max(0, match.start(name) - 30), match.start(name)):
                continue
            closed = _CLOSED.match(text, match.end(name))
            after = closed.end() if closed else match.end(name)
            letters.append((match.start(), after, HEDGE if _hedged(text, after) else match[name].upper()))
        if letters:
            return _unless_alternatives(text, letters)
    return None


def _hedged(text: str, after: int) -> bool:
    return _OTHER_LETTER.match(text, after) is not None


def _unless_alternatives(text: str, letters: list[tuple[int, int, str]]) -> str:
    """The last letter; HEDGE where the statement right before it, with nothing between the two, gives another one."""
    last = letters[-1]
    if len(letters) > 1:
        _, end, other = letters[-2]
        between = text[end : last[0]]
        if other != last[2] and len(between) < 20 and re.fullmatch(r"[\s.,;]*(?:(?i:or|and)\s+)?(?i:the\s+)?", between):
            return HEDGE
    return last[2]
