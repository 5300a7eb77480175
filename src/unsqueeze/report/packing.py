"""Rollouts and samples packed for a page: compressed blocks that are opened one at a time.

A block is gzipped JSON in base64. Log-probs are one character a token, and so are the lengths of the pieces of text
that tokens stand for: code 35 + q, where q is 0 to 90. A log-prob of −x nats has q = round(90·√(x / 16)), which is fine
near 0, where most are; below −16 nats all are alike.
"""

import base64
import gzip
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from unsqueeze.plain_json import dumps

FIRST_CODE, LEVELS, LEAST_LOGP = 35, 90, -16.0


def pack(value: Mapping[str, Any]) -> str:
    """Return a value as a page holds it."""
    return base64.b64encode(gzip.compress(dumps(value).encode(), compresslevel=6, mtime=0)).decode()


def logp_codes(logp_T: Iterable[float]) -> str:
    """Return one character a token."""
    values = np.nan_to_num(np.asarray(logp_T, dtype=np.float64), nan=LEAST_LOGP, neginf=LEAST_LOGP, posinf=0.0)
    shares = np.clip(values, LEAST_LOGP, 0.0) / LEAST_LOGP
    return (np.rint(LEVELS * np.sqrt(shares)).astype(np.uint8) + FIRST_CODE).tobytes().decode("latin-1")


def length_codes(lengths: Sequence[int] | None) -> str:
    """Return one character a token; nothing where lengths are not known, or one is too large to be written so."""
    if lengths is None or max(lengths, default=0) > LEVELS:
        return ""
    return "".join(chr(FIRST_CODE + length) for length in lengths)


def rounded(value: float | None, digits: int = 4) -> float | None:
    """Return a number that is looked at and not computed with; None for NaN."""
    return None if value is None or not math.isfinite(value) else round(float(value), digits)
