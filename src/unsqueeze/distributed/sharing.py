"""Work dealt out to processes by turns, and put back in order."""

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def dealt_back(shares: Sequence[Sequence[T]]) -> list[T]:
    """Put back in order what was dealt out by turns."""
    return [shares[i % len(shares)][i // len(shares)] for i in range(sum(map(len, shares)))]


def speaking_for_all(on_finished: Callable[[int], None], share: int, total: int) -> Callable[[int], None]:
    """Progress on ``share`` completions told as progress on all ``total``, of which the others are about as far."""
    done = 0

    def finished(count: int) -> None:
        nonlocal done
        before = done * total // share
        done += count
        on_finished(done * total // share - before)

    return finished
