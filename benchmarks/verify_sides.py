"""The sides of benchmarks/verify.py, each run in a process of its own: ``python verify_sides.py SIDE FILE [WORKERS]``.

Every side judges the lines of FILE (``gold``, ``prediction``) and prints one JSON object: the seconds of every pass,
the CPU seconds of the warm one, how many were correct, and our peak memory. This file imports nothing of the project
unless the side is ours, so that the rivals' environments need not have it.
"""

import json
import multiprocessing
import os
import sys
import threading
import time

STARTED = time.perf_counter()


def read(path: str) -> list[dict[str, str]]:
    with open(path, encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


def ours(path: str, workers: int, credit: str) -> dict[str, object]:
    from unsqueeze.verify.math_verifier import MathVerifier

    peak = PeakMemory()
    rows = read(path)
    golds, responses = [row["gold"] for row in rows], [row["prediction"] for row in rows]

    def judged(verifier: MathVerifier) -> tuple[float, float, int]:
        start, start_cpu = time.perf_counter(), cpu_seconds()
        correct = sum(judgement.verdict == "correct" for judgement in verifier.verify_answers(golds, responses))
        return time.perf_counter() - start, cpu_seconds() - start_cpu, correct

    # Cold: from the start of the interpreter. Warm: Math-Verify loaded, no answer known yet. Again: all answers known.
    with MathVerifier(workers=workers, credit=credit, timeout_s=30) as verifier:  # type: ignore[arg-type]
        *_, correct = judged(verifier)
        cold = time.perf_counter() - STARTED
        again, *_ = judged(verifier)
    with MathVerifier(workers=workers, credit=credit, timeout_s=30) as verifier:  # type: ignore[arg-type]
        verifier.verify_answers(["\\pi"] * 2, ["\\boxed{\\pi}", "\\boxed{2\\pi}"])
        warm, cpu, _ = judged(verifier)
    return {"cold": cold, "warm": warm, "cpu": cpu, "again": again, "correct": correct, "peak_mb": peak.stop()}


def cpu_seconds() -> float:
    """CPU time of this process and all below it, dead ones included."""
    import psutil

    me = psutil.Process()
    return sum(sum(process.cpu_times()[:4]) for process in [me, *me.children(recursive=True)])


class PeakMemory:
    """Resident memory of this process and all below it, added up twenty times a second."""

    def __init__(self) -> None:
        self._peak = 0.0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        import psutil

        me = psutil.Process()
        while not self._end.wait(0.05):
            total = 0
            for process in [me, *me.children(recursive=True)]:
                try:
                    total += process.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            self._peak = max(self._peak, total / 2**20)

    def stop(self) -> float:
        self._end.set()
        self._thread.join()
        return self._peak


def math_verify_sequential(rows: list[dict[str, str]]) -> int:
    from math_verify import parse, verify

    return sum(verify(parse(f"${row['gold']}$"), parse(row["prediction"])) for row in rows)


def trl_rewards(rows: list[dict[str, str]]) -> int:
    from trl.rewards import accuracy_reward

    completions = [[{"role": "assistant", "content": row["prediction"]}] for row in rows]
    rewards = accuracy_reward(completions, [f"${row['gold']}$" for row in rows])
    return sum(reward == 1.0 for reward in rewards)


def evalscope_scores(rows: list[dict[str, str]]) -> int:
    from evalscope.metrics.math.parser import extract_answer
    from evalscope.metrics.nlp.metrics import MathAcc

    metric = MathAcc()
    return sum(metric.apply([extract_answer(row["prediction"])], [row["gold"]])[0] == 1.0 for row in rows)


SEQUENTIAL = {"math-verify": math_verify_sequential, "trl": trl_rewards, "evalscope": evalscope_scores}


def _share(side: str, rows: list[dict[str, str]], loaded: object, results: object) -> None:
    SEQUENTIAL[side](rows[:1])  # loads what it needs
    loaded.wait()  # type: ignore[attr-defined]
    start, start_cpu = time.perf_counter(), sum(os.times()[:4])
    correct = SEQUENTIAL[side](rows)
    spent = time.perf_counter() - start, sum(os.times()[:4]) - start_cpu
    results.put((*spent, correct))  # type: ignore[attr-defined]


def rival(side: str, path: str, workers: int) -> dict[str, object]:
    """A sequential verifier in as many processes, each with its share of the answers, all starting together."""
    rows = read(path)
    context = multiprocessing.get_context("spawn")
    loaded, results = context.Barrier(workers), context.Queue()
    processes = [
        context.Process(target=_share, args=(side, rows[place::workers], loaded, results)) for place in range(workers)
    ]
    for process in processes:
        process.start()
    parts = [results.get() for _ in processes]
    cold = time.perf_counter() - STARTED
    for process in processes:
        process.join()
    warm, cpu, correct = zip(*parts, strict=True)
    return {"cold": cold, "warm": max(warm), "cpu": sum(cpu), "correct": sum(correct)}


def main() -> None:
    side, path, workers = sys.argv[1], sys.argv[2], int(sys.argv[3])
    result = rival(side, path, workers) if side in SEQUENTIAL else ours(path, workers, side.removeprefix("ours-"))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
