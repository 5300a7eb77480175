"""`unsqueeze diagnose`: the gauges of the embedded model, and of answers written by hand."""

import json
import math
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from unsqueeze.evaluation.benchmarks import Benchmark
from unsqueeze.evaluation.diagnose import diagnose_benchmark
from unsqueeze.evaluation.draw import draw_missing
from unsqueeze.evaluation.questions import Asked
from unsqueeze.models import embedded_model_path
from unsqueeze.rollout.scripted import Line, ScriptedEngine
from unsqueeze.rollout.types import Sampling, StopReason
from unsqueeze.store.samples import Samples
from unsqueeze.tasks.countdown import make_problem
from unsqueeze.tasks.task import task_named
from unsqueeze.verify.countdown import CountdownVerifier


class Source:
    """A model of which nothing is known but its engine."""

    def __init__(self, engine: ScriptedEngine) -> None:
        self.sampler = engine

    def draw(self, samples, asked, n, *, seed, on_finished, check_stop):
        draw_missing(samples, self.sampler, asked, n, seed=seed, max_rows=64)


def test_by_hand(tmp_path: Path):
    """Make 9 from 2 3 4: two ways to write one sum, then another answer that is wrong, and one that is cut off."""
    tokenizer = AutoTokenizer.from_pretrained(embedded_model_path())
    problem = make_problem([2, 3, 4], 9)
    answers = [
        "2 + 3 = 5, 5 + 4 = 9",
        "3 + 4 = 7, 7 + 2 = 9",
        "2 * 3 = 6, 6 + 4 = 10",
        Line("2 + 3", stop_reason=StopReason.LENGTH),
    ]
    engine = ScriptedEngine(tokenizer, [*answers, Line("2 + 3 = 5, 5 + 4 = 9", logp=-0.25)])
    task = task_named("countdown")
    asked = Asked(
        benchmark=Benchmark(name="one", task=task, problems=(problem,), source="made", sha256=None, asks=task.asks),
        prompts=[tokenizer(problem.prompt)["input_ids"]],
        sampling=Sampling(max_tokens=24),
        verifier=CountdownVerifier(),
        verifier_name="countdown",
    )
    result = diagnose_benchmark(
        Source(engine),  # type: ignore[arg-type]
        asked,
        Samples(tmp_path / "samples.parquet", tmp_path / "parts"),
        n=4,
        entropy=lambda prompts, answers, ended: 0.5,
        seed=0,
        on_finished=lambda count: None,
        check_stop=lambda: None,
    )
    assert result.avg.mean == 0.5
    assert result.distinct_correct.mean == 1.0
    assert {each.label: each.num_problems for each in result.histogram if each.num_problems} == {"25–50 %": 1}
    assert result.greedy_logp == pytest.approx(-0.25)
    assert (result.share_cut_off, result.share_unparsable, result.num_not_judged) == (0.25, 0.25, 0)
    # Of 10, 10, 10 and 3 words: 8, 8, 8 and 1 trigrams. The first three share '+ 4 =' with each other, the first and
    # the last share '2 + 3'; nothing else is common.
    pairs = [2 / 16, 2 / 16, 2 / 16, 2 / 9, 0, 0]
    assert result.similarity.mean == pytest.approx(sum(pairs) / 6)
    assert result.to_json_object()["histogram"]["25–50 %"] == 1
    assert result.to_json_object()["avg"]["low"] is None


def test_the_embedded_model(command, tmp_path: Path):
    out = tmp_path / "base.json"
    code, printed, err = command(
        "diagnose", "countdown-0.4m", "--task", "countdown", "--limit", "8", "--n", "8", "--out", str(out)
    )
    assert code == 0, err
    assert "entropy of the next token" in printed
    record = json.loads(out.read_text())["tasks"]["countdown"]
    assert sum(record["histogram"].values()) == 8
    # The vocabulary has 112 words: no distribution over it is wider.
    assert 0 < record["entropy"] < math.log(112)
    assert record["greedy_logp"] < 0
    assert 0 < record["similarity"]["mean"] < 1
    assert 0 < record["distinct_correct"]["mean"] <= 8


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], ["no task was given"]),
        (["--task", "countdown", "--n", "1"], ["n is 1", "2 or more"]),
        (["--task", "countdown", "--ngram", "0"], ["ngram is 0"]),
        (["--task", "countdown", "--engine", "vllm_server"], ["--engine vllm_server", "--server URL"]),
        (["--task", "countdown", "--compute-dtype", "x"], ["model.compute_dtype is 'x'", "float32"]),
        (["--task", "countdown", "--credit", "x"], ["credit"]),
    ],
)
def test_a_mistake_is_one_sentence(command, flags: list[str], words: list[str]):
    code, _, err = command("diagnose", "countdown-0.4m", *flags)
    assert code == 2
    for word in words:
        assert word in err
