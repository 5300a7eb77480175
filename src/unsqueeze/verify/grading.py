"""Math-Verify itself, as a worker calls it: no time limits of its own, no exception lost that means "not judged".

Nothing but a worker imports this module: it loads sympy.
"""

from functools import lru_cache
from typing import Any

from math_verify import ExprExtractionConfig, LatexExtractionConfig, verify
from math_verify.parser import extract_target_from_pred, get_extraction_regexes
from sympy import Basic, MatrixBase  # type: ignore[import-untyped]

from unsqueeze.verify.job import Grade, Where
from unsqueeze.verify.two_stages import parsing_in_two_stages
from unsqueeze.verify.unequal import without_needless_simplification

_MAX_EXTRACTED = 500


def _patterns() -> dict[Where, Any]:
    latex, expression = LatexExtractionConfig(), ExprExtractionConfig()
    anywhere = get_extraction_regexes([latex, expression])
    final_answer = get_extraction_regexes(
        [
            LatexExtractionConfig(try_extract_without_anchor=False),
            ExprExtractionConfig(try_extract_without_anchor=False),
        ]
    )
    box = [pattern for pattern in anywhere[0][0] if "first_latexBoxed>" in pattern[0].pattern]
    return {"anywhere": anywhere, "final_answer": final_answer, "box": [(box, latex)]}


class Grader:
    """Parses gold answers once each and grades answers against them."""

    def __init__(self) -> None:
        self._patterns = _patterns()
        self._parse_gold = lru_cache(maxsize=4096)(self._parse_gold_anywhere)

    def _parse(self, text: str, where: Where) -> list[Any]:
        """``math_verify.parse`` without its alarm; as there, an error in parsing means that nothing was found."""
        try:
            with parsing_in_two_stages():
                return extract_target_from_pred(text, self._patterns[where], fallback_mode="first_match")
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001 - Math-Verify's own rule
            return []

    def _parse_gold_anywhere(self, gold: str) -> list[Any]:
        return self._parse(gold, "anywhere")

    def grade(self, gold: str, text: str, where: Where) -> Grade:
        """The verdict of Math-Verify on ``text`` against ``gold``, with what it read. Raises MemoryError."""
        target = self._parse(text, where)
        extracted = next((item[:_MAX_EXTRACTED] for item in target if isinstance(item, str)), None)
        parsed = any(isinstance(item, Basic | MatrixBase) for item in target)
        reference = self._parse_gold(gold)
        if (not target or not reference) and gold == text:
            return Grade("correct", parsed, extracted, "the same text as the gold answer")
        if not reference:
            return Grade("crashed", parsed, extracted, "the gold answer cannot be read")
        if not target:
            return Grade("unparsable", False, None, "no answer was found in the response")
        with without_needless_simplification():
            equal = verify(reference, target, timeout_seconds=None)
        if equal:
            return Grade("correct", parsed, extracted, "equal to the gold answer")
        if not parsed and any(isinstance(item, Basic | MatrixBase) for item in reference):
            return Grade("unparsable", False, extracted, "the answer cannot be read as mathematics")
        return Grade("wrong", parsed, extracted, "not equal to the gold answer")
