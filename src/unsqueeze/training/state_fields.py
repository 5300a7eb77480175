"""Check each field of a checkpoint's ``state.json``: the file is plain text, and somebody may have edited it."""

import math
from collections.abc import Callable, Mapping
from typing import Any

START_NUMBERS = ("greedy_logp", "seconds", "measuring_s", "kl_rounding", "kl_sampler", "logp_rounding")
"""Numbers of the moment that a phase began, beside the version of the policy."""


def checked_fields(content: Any) -> dict[str, Any]:
    """The content of state.json. ValueError naming the field that is missing, unknown, or not what it must be."""
    if not isinstance(content, dict):
        raise ValueError("no JSON object")
    for name in sorted(content.keys() ^ FIELDS.keys()):
        raise ValueError(f"{'no field' if name in FIELDS else 'an unknown field'} {name[:40]!r}")
    for name, (fits, wanted) in FIELDS.items():
        if not fits(content[name]):
            raise ValueError(f"{name} is {str(content[name])[:40]!r}, not {wanted}")
    if content["phase_begun"] != (content["phase_start"] is not None):
        raise ValueError("phase_start has to be there where phase_begun is true, and only there")
    return content


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**53


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_start(value: Any) -> bool:
    if value is None:
        return True
    return (
        isinstance(value, dict)
        and value.keys() == {"version", *START_NUMBERS}
        and _is_count(value["version"])
        and all(_is_number(value[name]) for name in START_NUMBERS)
    )


FIELDS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(
        ("step", "phase", "policy_version", "problems_taken", "metrics_lines"), (_is_count, "a whole number from 0")
    ),
    "entropy_coefficient": (lambda value: _is_number(value) and 0 <= value < math.inf, "a number from 0"),
    "phase_begun": (lambda value: isinstance(value, bool), "true or false"),
    "phase_start": (_is_start, f"null, or the numbers version, {', '.join(START_NUMBERS)}"),
    "sha256": (lambda value: isinstance(value, dict), "an object of one digest a file"),
}
"""Every field: what it must fulfil, and the words for it."""
