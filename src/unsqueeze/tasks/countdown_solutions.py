"""Tell apart the solutions of a Countdown problem that are really different: a canonical form, and all of them by
trying.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

from unsqueeze.tasks.countdown import CountdownDifficulty, Step, apply_operator, legal_steps


def canonical_solution(numbers: Sequence[int], steps: Sequence[Step]) -> str:
    """One text for all ways to write one solution: sums and products flattened, their parts sorted.

    ``2 + 3 = 5, 5 + 6 = 11`` and ``6 + 3 = 9, 2 + 9 = 11`` are both ``(2 + 3 + 6)``. Where a number is on the table
    twice, the one that lay there first is taken. The steps must be legal (checked before): a missing operand is a
    ValueError.
    """
    table = [(number, _Tree(str(number))) for number in sorted(numbers)]
    for step in steps:
        left = table.pop([value for value, _ in table].index(step.left))[1]
        right = table.pop([value for value, _ in table].index(step.right))[1]
        table.append((step.result, _join(step.operator, left, right)))
    return str(table[-1][1])


def find_solution(
    numbers: Sequence[int], target: int, difficulty: CountdownDifficulty | None = None
) -> list[Step] | None:
    """The steps of one solution within the difficulty, the first that trying in order meets; None if there is none."""
    difficulty = difficulty or CountdownDifficulty()
    dead_ends: set[tuple[int, ...]] = set()

    def explore(table: tuple[int, ...]) -> list[Step] | None:
        if len(table) == 1:
            return [] if table[0] == target else None
        if table in dead_ends:
            return None
        for left, operator, right, result in legal_steps(table, difficulty):
            rest = list(table)
            rest.remove(left)
            rest.remove(right)
            later = explore(tuple(sorted([*rest, result])))
            if later is not None:
                return [Step(left, operator, right, result), *later]
        dead_ends.add(table)
        return None

    return explore(tuple(sorted(numbers)))


def distinct_solutions(
    numbers: Sequence[int], target: int, difficulty: CountdownDifficulty | None = None
) -> frozenset[str]:
    """The canonical form of every solution within the difficulty, by trying all: milliseconds for four numbers."""
    difficulty = difficulty or CountdownDifficulty()
    found: set[str] = set()
    seen: set[tuple[str, ...]] = set()

    def explore(table: list[tuple[int, _Tree]]) -> None:
        state = tuple(sorted(str(tree) for _, tree in table))
        if state in seen:
            return
        seen.add(state)
        if len(table) == 1:
            if table[0][0] == target:
                found.add(str(table[0][1]))
            return
        for i, j in permutations(range(len(table)), 2):
            rest = [entry for place, entry in enumerate(table) if place not in (i, j)]
            (left, left_tree), (right, right_tree) = table[i], table[j]
            for operator in difficulty.operators:
                result = apply_operator(operator, left, right)
                if result is not None and result <= difficulty.max_result:
                    explore([*rest, (result, _join(operator, left_tree, right_tree))])

    explore([(number, _Tree(str(number))) for number in numbers])
    return frozenset(found)


@dataclass(frozen=True, slots=True)
class _Tree:
    """A number, or a flat sum or product: what goes in (``plus``) less, or over, what is taken away (``minus``)."""

    text: str
    kind: str = ""
    plus: tuple["_Tree", ...] = ()
    minus: tuple["_Tree", ...] = ()

    def __str__(self) -> str:
        return self.text

    def parts(self, kind: str) -> tuple[tuple["_Tree", ...], tuple["_Tree", ...]]:
        return (self.plus, self.minus) if self.kind == kind else ((self,), ())


def _join(operator: str, left: _Tree, right: _Tree) -> _Tree:
    kind, inverse = ("+", "-") if operator in "+-" else ("*", "/")
    left_plus, left_minus = left.parts(kind)
    right_plus, right_minus = right.parts(kind)
    if operator == inverse:
        right_plus, right_minus = right_minus, right_plus
    plus = tuple(sorted(left_plus + right_plus, key=str))
    minus = tuple(sorted(left_minus + right_minus, key=str))
    text = f" {kind} ".join(map(str, plus)) + "".join(f" {inverse} {tree}" for tree in minus)
    return _Tree(f"({text})", kind, plus, minus)
