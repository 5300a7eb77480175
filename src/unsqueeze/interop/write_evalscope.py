"""Samples in the form that EvalScope's re-scoring reads: its cache of predictions, and the problems they answer.

    OUT/predictions/unsqueeze/math_500_Level 5.jsonl   a line a sample, index = problem · n + number of the sample
    OUT/data/test.jsonl                                 a line a problem
    OUT/rescore.json                                    the task: ``evalscope.run.run_task("OUT/rescore.json")``

EvalScope knows its own benchmarks alone. ``math_500`` is the one whose answers may be any expression; its levels mean
nothing here. Written for EvalScope 1.14.
"""

from pathlib import Path
from typing import Any

from unsqueeze.errors import UserError
from unsqueeze.interop.exporters import Answer, Answers
from unsqueeze.interop.read_evalscope import BENCHMARK, PROBLEM_ID
from unsqueeze.plain_json import dumps
from unsqueeze.store.atomic import atomic_directory

MODEL = "unsqueeze"
ADAPTER, LEVEL = "math_500", "5"


def write_evalscope(groups: Answers, out: Path) -> int:
    """Writes the folder ``out``, which must not exist; returns the number of samples. UserError for uneven groups."""
    counts = sorted({len(answers) for answers in groups.values()})
    if len(counts) != 1:
        raise UserError(
            f"the problems have {counts[0]} to {counts[-1]} samples; EvalScope repeats every problem equally often: "
            "leave the surplus out."
            if counts
            else "there are no samples to export."
        )
    problems = [_problem(*key) for key in groups]
    predictions = [
        _prediction(place * counts[0] + number, key, answer)
        for place, (key, answers) in enumerate(groups.items())
        for number, answer in enumerate(answers)
    ]
    with atomic_directory(out) as aside:
        for name, rows in {
            "data/test.jsonl": problems,
            f"predictions/{MODEL}/{ADAPTER}_Level {LEVEL}.jsonl": predictions,
        }.items():
            (aside / name).parent.mkdir(parents=True)
            (aside / name).write_text("".join(dumps(row) + "\n" for row in rows), encoding="ascii")
        (aside / "rescore.json").write_text(dumps(_task(out, counts[0]), indent=2) + "\n", encoding="ascii")
    return len(predictions)


def _problem(benchmark: str, problem_id: str, gold: str) -> dict[str, Any]:
    return {"problem": problem_id, "answer": gold, "level": LEVEL, "unique_id": problem_id, "solution": ""}


def _prediction(index: int, key: tuple[str, str, str], answer: Answer) -> dict[str, Any]:
    said = {"role": "assistant", "content": answer.text}
    stop_reason = "max_tokens" if answer.cut_off else "stop"
    return {
        "index": index,
        "model": MODEL,
        "model_output": {"model": MODEL, "choices": [{"message": said, "stop_reason": stop_reason}]},
        "messages": [{"role": "user", "content": key[1]}, said],
        "metadata": {BENCHMARK: key[0], PROBLEM_ID: key[1]},
    }


def _task(out: Path, repeats: int) -> dict[str, Any]:
    folder = str(out.absolute())
    return {
        "model": MODEL,
        "eval_type": "mock_llm",
        "datasets": [ADAPTER],
        "dataset_args": {ADAPTER: {"local_path": f"{folder}/data", "subset_list": [f"Level {LEVEL}"]}},
        "repeats": repeats,
        "use_cache": folder,
        "work_dir": folder,
        "rerun_review": True,
    }
