"""The sides of ``rescore.py`` that are no command: ``python benchmarks/rescore_sides.py SIDE FILE WORKERS``.

Each reads a file of samples and prints Pass@k of all k as a line of JSON. ``plain`` is what one writes without this
project, and imports nothing of it: a loop over the lines, Math-Verify for those that say no ``correct``, and the
unbiased estimator of arXiv:2107.03374 with numpy, without intervals. ``api`` is two calls of ours.
"""

import json
import sys
from collections import defaultdict
from pathlib import Path


def plain(path: Path, workers: int) -> dict[int, float]:
    """Pass@k by the plain loop, which has one process whatever ``workers`` says."""
    import numpy as np

    outcomes = defaultdict(list)
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            outcomes[row["problem_id"]].append(row["correct"] if "correct" in row else _verified(row))

    def estimate(n: int, c: int, k: int) -> float:
        return 1.0 if n - c < k else float(1.0 - np.prod(1.0 - k / np.arange(n - c + 1, n + 1)))

    most = max(map(len, outcomes.values()))
    ks = [2**power for power in range(most.bit_length())]
    return {k: float(np.mean([estimate(len(each), sum(each), k) for each in outcomes.values()])) for k in ks}


def _verified(row: dict[str, str]) -> bool:
    from math_verify import parse, verify

    return bool(verify(parse(f"${row['gold']}$"), parse(row["prediction"])))


def api(path: Path, workers: int) -> dict[int, float]:
    """Pass@k by ``judge`` and ``score``."""
    import unsqueeze as uq

    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    golds, responses = [row["gold"] for row in rows], [row["prediction"] for row in rows]
    judgements = uq.judge(golds, responses, workers=workers)
    return {k: of.mean for k, of in uq.score([row["problem_id"] for row in rows], judgements).pass_at.items()}


if __name__ == "__main__":
    print(json.dumps({"plain": plain, "api": api}[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))))
