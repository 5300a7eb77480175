"""Two sides of a comparison: were they measured alike, and are their problems the same ones?"""

from pathlib import Path
from typing import Any

import pytest

import unsqueeze as uq
from small_runs import small_recipe
from unsqueeze.errors import UserError
from unsqueeze.evaluation.measured import differing_settings, measured_by
from unsqueeze.progress import Silent
from unsqueeze.rollout.types import StopReason
from unsqueeze.store.run_directory import RunDirectory
from unsqueeze.store.samples import EvalSample
from unsqueeze.verify.verdict import Verdict

SUMMARY = uq.score(["a", "b"], [True, False]).to_json_object()


class Heard(Silent):
    def __init__(self) -> None:
        self.warned: list[str] = []

    def warn(self, text: str) -> None:
        self.warned.append(text)


def sample(problem_id: str, verdict: Verdict, gold: str, verifier: str) -> EvalSample:
    return EvalSample(
        benchmark="sums",
        problem_id=problem_id,
        index=0,
        text="1",
        verdict=verdict,
        extracted="1",
        reason="",
        num_tokens=1,
        mean_logp=-0.5,
        stop_reason=StopReason.EOS,
        gold=gold,
        verifier=verifier,
    )


def run(path: Path, *, golds: tuple[str, str] = ("1", "2"), verifier: str = "math 1", **sections: Any) -> Path:
    """A run with one evaluation of two problems, the first of them solved."""
    directory = RunDirectory.create(path, {"recipe": small_recipe(**sections).model_dump(mode="json")})
    verdicts = (Verdict.CORRECT, Verdict.WRONG)
    samples = [
        sample(problem_id, verdict, gold, verifier)
        for problem_id, verdict, gold in zip(("a", "b"), verdicts, golds, strict=True)
    ]
    directory.evals.add(0, samples)
    directory.evals.merge(0, "sums", ["a", "b"])
    directory.evals.finish(0, SUMMARY)
    directory.close()
    return path


def warnings(first: Any, second: Any) -> list[str]:
    heard = Heard()
    comparison = uq.compare(first, second, progress=heard)
    assert comparison.num_problems == 2
    return [text.removeprefix("the two sides were measured differently: ") for text in heard.warned]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, []),
        ({"evaluation": {"n": 8}, "rl": {"steps": 9}}, []),
        ({"evaluation": {"temperature": 1.0}}, ["temperature 0.7 and 1.0"]),
        ({"rollout": {"max_tokens": 30, "stop": ["\n"]}}, ["max_tokens 20 and 30", r'stop [] and ["\n"]']),
        ({"prompt": {"template": "Q: {problem}"}}, ['template "{problem}" and "Q: {problem}"']),
        ({"verifier": "math 2"}, ["sums is judged by 'math 1' and 'math 2'"]),
        # What judged the samples is known, and does not depend on this.
        ({"verify": {"credit": "boxed"}}, []),
    ],
)
def test_runs_that_were_measured_differently(tmp_path: Path, changes: dict[str, Any], said: list[str]):
    first, second = run(tmp_path / "a"), run(tmp_path / "b", **changes)
    assert warnings(first, second) == said
    # A file inside a run is of the run.
    assert warnings(str(first / "evals" / "step-000000.parquet"), second) == said


def test_another_gold_answer_is_another_problem(tmp_path: Path):
    first, alike, other = (
        run(tmp_path / name, golds=golds)
        for name, golds in (("a", ("1/2", "2")), ("b", ("0.5", "2")), ("c", ("1/2", "3")))
    )
    assert warnings(first, alike) == []  # written otherwise, and the same to the verifier
    with pytest.raises(UserError, match="problem 'b' of sums has the gold answer '2' on the first side and '3' on"):
        uq.compare(first, other)
    # Who gives no gold answers is compared all the same.
    assert uq.compare(first, (["a", "b"], [1, 1])).num_problems == 2


def test_an_evaluation_beside_its_model(tmp_path: Path):
    settings = {"temperature": 0.7, "limit": 2, "n": 2, "max_tokens": 20}
    one = uq.evaluate("countdown-0.4m", "countdown", out=tmp_path / "one", **settings)
    hot = uq.evaluate("countdown-0.4m", "countdown", out=tmp_path / "hot", **settings | {"temperature": 1.5})
    assert warnings(one, tmp_path / "hot") == warnings(tmp_path / "one", hot) == ["temperature 0.7 and 1.5"]
    known = measured_by(one)
    assert known["verifier"] == {"countdown": "countdown"}
    assert (known["template"], known["max_tokens"], known["stop"]) == ("{problem}", 20, [])
    assert measured_by(tmp_path / "one") == known


def test_samples_of_nowhere_are_compared_without_a_word(tmp_path: Path):
    assert measured_by((["a"], [True])) == {}
    file = tmp_path / "samples.jsonl"
    file.write_text('{"problem_id": "a", "correct": true}\n{"problem_id": "b", "correct": false}\n')
    assert measured_by(str(file)) == {}
    assert list(differing_settings({}, {"temperature": 1.0})) == []
    assert warnings(str(file), str(file)) == []
