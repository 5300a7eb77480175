"""Answers judged as texts, in the verifier's own process: letters, words, and gold answers that cannot be read."""

import re
from fractions import Fraction

from unsqueeze.verify.bare import bare_answer, short_text
from unsqueeze.verify.choice import find_choice
from unsqueeze.verify.extract import Credit, boxes_at_end
from unsqueeze.verify.gold import Gold
from unsqueeze.verify.job import SAME_UNREADABLE, UNREADABLE_GOLD
from unsqueeze.verify.normalise import plain_characters, without_delimiters
from unsqueeze.verify.sizes import measure
from unsqueeze.verify.spelled import number_in_words
from unsqueeze.verify.stating import stated_answer
from unsqueeze.verify.texts import MAX_TEXT, NO_SOLUTION, is_plain, listed_letters, plain_words, unwrapped
from unsqueeze.verify.verdict import Judgement, Verdict

_MAX_SENTENCE = 10
_EMPTY_SET = re.compile(r"\\(?:emptyset|varnothing)(?![A-Za-z])|∅|\\\{\s*\\\}")
_DOUBT = frozenset(["or", "not", "no", "if", "either", "neither", "never", "unless", "maybe", "perhaps"])


def equal_or_not(equal: bool, extracted: str, what: str) -> Judgement:
    if equal:
        return Judgement(Verdict.CORRECT, extracted, f"the same {what} as the gold answer")
    return Judgement(Verdict.WRONG, extracted, f"another {what} than the gold answer")


def judged_without_answer(reference: Gold, reason: str) -> Judgement:
    """The judgement of a response in which no answer stands."""
    if reference.kind == "empty":
        return Judgement(Verdict.UNREADABLE_GOLD, None, "the gold answer is empty")
    if reference.kind == "unreadable":
        return Judgement(Verdict.UNREADABLE_GOLD, None, UNREADABLE_GOLD)
    return Judgement(Verdict.UNPARSABLE, None, reason)


def judged_as_text(reference: Gold, gold: str, response: str, credit: Credit) -> Judgement | None:
    """The judgement where texts settle it. None where the answer is to be compared as mathematics."""
    if reference.kind == "empty":
        return judged_without_answer(reference, "")
    if reference.choice is not None:
        letter = find_choice(response, credit)
        if letter is not None:
            return equal_or_not(letter == reference.choice.letter, letter, "letter")
        no_place = boxes_at_end(response) is None and bare_answer(response) is None
        if reference.choice.value is None and no_place and credit != "boxed":
            return Judgement(Verdict.UNPARSABLE, None, "no letter stands as the answer")
    if reference.letters is not None:
        candidate = text_candidate(response, credit)
        if candidate is not None and listed_letters(candidate) == reference.letters:
            return equal_or_not(True, candidate, "letters")
    if reference.kind == "mathematics":
        if not reference.has_words:
            return None
        candidate = text_candidate(response, credit)
        same = (
            candidate is not None
            and len(candidate) <= MAX_TEXT
            and is_plain(candidate)
            and plain_words(candidate) == reference.text
        )
        if not same and candidate is not None and _same_measure(candidate, gold):
            return equal_or_not(True, candidate, "measure")
        return equal_or_not(True, candidate or "", "text") if same else None
    return _judged_text(reference, gold, text_candidate(response, credit))


def _judged_text(reference: Gold, gold: str, candidate: str | None) -> Judgement:
    if candidate is not None and reference.text in NO_SOLUTION and _EMPTY_SET.fullmatch(candidate.strip(" $.")):
        candidate = "no solution"
    given = None if candidate is None or len(candidate) > MAX_TEXT else plain_words(candidate)
    if reference.kind == "unreadable":
        same = candidate is not None and "".join(candidate.split()) == "".join(gold.split())
        if same or (given and given == reference.text):
            return Judgement(Verdict.CORRECT, candidate, SAME_UNREADABLE)
        return Judgement(Verdict.UNREADABLE_GOLD, candidate, UNREADABLE_GOLD)
    if candidate is None:
        return Judgement(Verdict.UNPARSABLE, None, "no answer was found in the response")
    if reference.spelled and given != reference.text and any(character.isdigit() for character in candidate):
        return Judgement(Verdict.UNREADABLE_GOLD, candidate, UNREADABLE_GOLD + " as a number")
    if _same_measure(candidate, gold):
        return equal_or_not(True, candidate, "measure")
    return equal_or_not(given is not None and _says(given, reference.text), candidate, "text")


def _same_measure(candidate: str, gold: str) -> bool:
    """Tell whether both are the same length, time or the like, one of them in two units: ``2 h 30 min``, ``2.5 h``."""
    one, other = (measure(unwrapped(plain_characters(text))) for text in (candidate[:MAX_TEXT], gold[:MAX_TEXT]))
    return one is not None and one == other


def _says(given: str, text: str) -> bool:
    """Tell whether a short text is the reference, or a sentence that ends with it: ``the winner is tom``."""
    words = given.split()
    if given.startswith(("on ", "in ", "at ")) and given.split(" ", 1)[1].removeprefix("a ") == text:
        return True
    if given.count(" and ") == text.count(" and ") == 1 and not any(character.isdigit() for character in text):
        return sorted(given.split(" and ")) == sorted(text.split(" and "))
    if text in NO_SOLUTION:
        return given in NO_SOLUTION
    if given == text or len(words) > _MAX_SENTENCE or not _DOUBT.isdisjoint(words):
        return given == text
    return given.endswith((f" is {text}", f" are {text}", f" is a {text}", f" is the {text}", f" is an {text}"))


def text_candidate(response: str, credit: Credit) -> str | None:
    """The answer of a response as a text, from where credit may come: in a box, stated, or a bare line."""
    boxed = boxes_at_end(response)
    if boxed is not None or credit == "boxed":
        return boxed.content if boxed and boxed.content else None
    text = plain_characters(response)
    stated = stated_answer(text)
    if stated is not None or credit == "final_answer":
        return stated and without_delimiters(stated)
    short = short_text(text)
    if short is None:
        last = text.rstrip()[-MAX_TEXT:].rpartition("\n")[2]
        short = short_text(last)
    return short


def spelled_number(answer: str) -> Fraction | None:
    """The value of an answer that is a number in words, or partly so (``1 million``)."""
    return number_in_words(answer) if len(answer) < 40 else None
