"""A reward that any model earns about every second time: for measuring steps in which every response is trained on."""

from zlib import crc32

from unsqueeze.tasks.problem import Problem


def coin(problem: Problem | None, response: str) -> bool:
    """Toss a coin that the text decides: equal texts earn the same."""
    return bool(crc32(response.encode()) & 1)
