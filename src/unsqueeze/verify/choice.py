r"""Letters of multiple choice (MMLU, GPQA): found as text, since Math-Verify knows letters only as symbols.

Applies where the gold answer is one letter A–J. A response in which no letter stands as its answer is left to
Math-Verify, as any other.
"""

import re

from unsqueeze.verify.extract import Credit, last_boxed

_LETTER = re.compile(r"([A-J])(?:[.:)](?:\s.*)?)?", re.DOTALL)
_WRAPPERS = (
    re.compile(r"\$+(.*?)\$+", re.DOTALL),
    re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|mathit|boxed)\s*\{(.*)\}", re.DOTALL),
    re.compile(r"\*\*(.*)\*\*\.?", re.DOTALL),
    re.compile(r"\((.*)\)\.?", re.DOTALL),
)
_STATED = re.compile(
    r"(?i:answer|option|choice)(?i:\s{1,3}is|\s{0,3}[:=])?[:\s]{0,3}"
    r"(?:\*\*|\$|\\text(?:bf)?\{|\\mathrm\{|\\mathbf\{|\(|\{){0,4}([A-J])(?![A-Za-z0-9'’])(?<!I)"
)
_MAX_OPTION = 400


def choice_letter(text: str) -> str | None:
    r"""The letter of ``A``, ``(A)``, ``\text{A}``, ``$A$``, ``**A**``, ``A. the option's text``. None for others."""
    stripped = text.strip()
    if len(stripped) > _MAX_OPTION:
        return None
    for _ in _WRAPPERS:
        for wrapper in _WRAPPERS:
            match = wrapper.fullmatch(stripped)
            if match:
                stripped = match[1].strip()
    match = _LETTER.fullmatch(stripped)
    return match[1] if match else None


def gold_letter(gold: str) -> str | None:
    """The letter of a gold answer that is one letter and nothing else."""
    return choice_letter(gold) if len(gold.strip()) <= 20 and "." not in gold else None


def find_choice(response: str, credit: Credit) -> str | None:
    """The letter that a response gives as its answer, from where credit may come. None where no letter stands there."""
    if credit == "boxed" or "\\boxed{" in response:
        boxed = last_boxed(response)
        return None if boxed is None else choice_letter(boxed)
    if credit == "anywhere":
        whole = choice_letter(response)
        if whole:
            return whole
    stated = None
    for match in _STATED.finditer(response):
        stated = match[1]
    if stated or credit == "final_answer":
        return stated
    return choice_letter(response.rstrip().rpartition("\n")[2])
