"""Answers stated in prose ("the answer is …"), and prose that states none: it breaks off, or states several."""

import re

_STATED = re.compile(
    r"(?i:\banswer|\bresult|答案|答え|答|정답|\bответ|\bantwort|\bréponse|\brespuesta|\brisposta|\bresposta)\*{0,2}"
    r"(?:\s{0,3}[:=]|\s{1,3}(?i:is|are|ist|lautet|est|es)\b\s{0,2}:?|\s?[是为為은는])\s{0,3}(?P<value>[^\s][^\n]{0,300})"
)
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)|[.!?](?=\*\*)")
_STATEMENT = re.compile(
    r"(?:\b(?:the|final|correct|my|so|thus|hence|therefore)\s+){0,4}\banswer\s+is:?\s*(?P<value>[^\n]{1,80}?)(?:\.(?=\s|$)|$)",
    re.IGNORECASE,
)
_MAX_TAIL = 600

_DANGLING_TEXT = (
    "of the a an to and or is are that which with from by for in on at as if we into than then so because "
    "since where when be have has this these those its their our let now but"
)
_DANGLING = frozenset(_DANGLING_TEXT.split())
_MAX_AFTER = 4
_MIN_WORDS = 4
_MIN_NEW = 6
_OPERATORS = ("=", "+", "\\times", "\\cdot")
_ANSWERED = re.compile(r"\banswer\b|####", re.IGNORECASE)
_FINISHED = re.compile(r"[.!?。)\]}$*\"'`%\d°;:,]\s*$|[^\x00-\x7f]\s*$")
_WORDS = re.compile(r"[A-Za-z]+")


def stated_answer(text: str) -> str | None:
    """Return what the last "answer is …" of a response says, to the end of its sentence."""
    last = None
    for last in _STATED.finditer(text):  # noqa: B007 - the last one is wanted
        pass
    if last is None:
        return None
    value = last["value"]
    end = _SENTENCE_END.search(value)
    return value[: end.start()] if end else value


def says_no_answer(text: str) -> bool:
    """Tell whether a response gives no answer for certain: it breaks off, or states several, one after the other."""
    return _breaks_off(text) or _states_several(text) or _RANGE.search(text[-_MAX_RANGE:]) is not None


def ends_open(text: str) -> bool:
    """Tell whether a text ends with a sign after which something must follow (``4 + 5 =``)."""
    return text[-_MAX_TAIL:].rstrip().endswith(_OPERATORS)


def _breaks_off(text: str) -> bool:
    """Tell whether a text ends within a sentence that goes on after its last number or formula."""
    tail = text[-_MAX_TAIL:].rstrip()
    if not tail or ends_open(tail):
        return bool(tail)
    if _FINISHED.search(tail):
        return False
    sentence = re.split(r"[.!?:](?=\s)|\n", tail)[-1]
    if len(sentence.split()) < 6 or not re.search(r"\d|\$|\\", sentence):
        num_words = len(sentence.split())
        is_new = num_words >= _MIN_NEW and len(sentence) < len(tail) and not _ANSWERED.search(tail)
        return is_new or (_ends_dangling(sentence) and num_words >= _MIN_WORDS)
    if re.search(r"\banswer\b", sentence, re.IGNORECASE) and not _ends_dangling(sentence):
        return False
    after = re.split(r"[\d$\\}]", sentence)[-1]
    return _ends_dangling(sentence) or len(_WORDS.findall(after)) > _MAX_AFTER


def _ends_dangling(sentence: str) -> bool:
    words = sentence.split()
    return bool(words) and words[-1].lower() in _DANGLING


def _states_several(text: str) -> bool:
    """Tell whether the last statements of the answer follow each other directly and differ."""
    statements = list(_STATEMENT.finditer(text[-_MAX_TAIL:]))[-2:]
    if len(statements) < 2:
        return False
    first, second = statements
    between = text[-_MAX_TAIL:][first.end() : second.start()]
    return not between.strip(" .\n") and _plain(first["value"]) != _plain(second["value"])


def _plain(value: str) -> str:
    return re.sub(r"[\s$*.]", "", value)


_NUMBER = r"(?:\$[^$\n]{1,60}\$|-?\d+(?:[.,/]\d+)*)"
_MAX_RANGE = 150
_RANGE = re.compile(rf"(?i:between)\s+{_NUMBER}\s+and\s+{_NUMBER}[^\d$\\]*$")
_ALTERNATIVES = re.compile(rf"{_NUMBER}(?:\s*,\s*{_NUMBER}){{0,8}}(?:\s*,?\s+|\s*\()or\s+{_NUMBER}")


def alternatives(text: str) -> str | None:
    """The list that a response ends with (``either 22 or 23``), where nothing but a word or two follows it."""
    found = None
    tail = text[-_MAX_TAIL:]
    for found in _ALTERNATIVES.finditer(tail):  # noqa: B007 - the last one is wanted
        pass
    if found is None or re.search(r"\d|\$|\\|\n", tail[found.end() :]):
        return None
    return found[0].replace("$", " ").replace("(", " ")
