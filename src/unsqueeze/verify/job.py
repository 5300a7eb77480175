"""Requests to a worker, and its answers."""

import signal
from dataclasses import dataclass
from typing import Literal

# Where the worker looks: ``box`` reads one box and nothing else; the other two are Math-Verify's two ways.
Where = Literal["box", "final_answer", "anywhere"]

# Who grades: Math-Verify, or the scorers of reasoning-gym.
GraderName = Literal["math", "reasoning_gym"]

# Reasons: of no judgement, and of the only one that there can be where a gold answer cannot be read.
UNREADABLE_GOLD = "the gold answer cannot be read"
SAME_UNREADABLE = "the same text as the gold answer, which cannot be read"

# Ends that an answer can bring about by itself: an overflow of the stack, a failed assertion, a bad address.
OWN_ENDS = frozenset([-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS, -signal.SIGILL, -signal.SIGFPE])

# The last word of a worker that ends by itself, because it has grown.
RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class Job:
    """A gold answer and a text to be graded against it, both as Math-Verify should read them."""

    gold: str
    text: str
    where: Where


@dataclass(frozen=True, slots=True)
class Grade:
    """``verdict`` is a value of ``Verdict``; ``parsed`` says whether the answer was read as mathematics."""

    verdict: str
    parsed: bool
    extracted: str | None
    reason: str
