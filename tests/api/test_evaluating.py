"""Evaluating and diagnosing models from Python."""

import math
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import unsqueeze as uq
from small_runs import small_recipe
from unsqueeze.errors import Interrupted, UserError
from unsqueeze.evaluation.entropy import mean_entropy
from unsqueeze.evaluation.models import LoadedModel
from unsqueeze.models import embedded_model_path
from unsqueeze.progress import Silent, StopRequest
from unsqueeze.rollout.types import Sampling, StopReason
from unsqueeze.seeds import prompt_seeds
from unsqueeze.store.run_directory import RunDirectory
from unsqueeze.tasks.countdown import make_problem
from unsqueeze.verify.verdict import Verdict


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return uq.load_model("countdown-0.4m", max_rows=32)


class Heard(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


def test_a_model_on_a_task(model, tmp_path: Path):
    evaluation = uq.evaluate(model, "countdown", out=tmp_path / "out", n=4, limit=6, ks=[1, 4])
    assert isinstance(evaluation.samples, pa.Table)
    assert evaluation.samples.num_rows == evaluation.num_drawn == 24
    assert set(evaluation.summary.pass_at) == {1, 4}
    correct = sum(evaluation.samples["correct"].to_pylist())
    assert evaluation.summary.avg.mean == pytest.approx(correct / 24)
    assert evaluation.path == tmp_path / "out"
    # The same again draws nothing; a larger n adds to what is there.
    again = uq.evaluate(model, "countdown", out=tmp_path / "out", n=4, limit=6, ks=[1, 4])
    assert (again.num_drawn, again.summary) == (0, evaluation.summary)
    assert again.samples.equals(evaluation.samples)
    assert uq.evaluate(model, "countdown", out=tmp_path / "out", n=6, limit=6).num_drawn == 12
    # What it gives is taken by score and compare, as its table and its directory are.
    scored = [uq.score(source, ks=[1, 4]) for source in (evaluation, evaluation.samples)]
    assert [each.avg for each in scored] == [evaluation.summary.avg] * 2
    assert uq.score(tmp_path / "out").n_problems == 6
    assert uq.compare(evaluation, again).avg.paired.difference.mean == 0.0


def test_own_problems_and_an_own_verifier(model):
    problems = [make_problem([2, 3, 4], 9), make_problem([2, 3, 4], 10)]
    asked: list[str] = []

    def long_enough(problem: uq.Problem, response: str) -> bool:
        asked.append(problem.id)
        return "=" in response

    evaluation = uq.evaluate(model, problems, n=2, verifier=long_enough)
    assert sorted(set(asked)) == sorted(problem.id for problem in problems)
    rows = evaluation.samples.to_pylist()
    assert [row["verdict"] == Verdict.CORRECT for row in rows] == ["=" in row["text"] for row in rows]
    assert {row["verifier"].rpartition(":")[2] for row in rows} == {
        "test_own_problems_and_an_own_verifier.<locals>.long_enough"
    }
    assert list(evaluation.summary.benchmarks) == ["own"]
    assert evaluation.path.is_dir()  # a temporary one


def test_a_path_names_a_task(model, tmp_path: Path):
    file = tmp_path / "sums.jsonl"
    file.write_text('{"id": "a", "problem": "Make 9 from 2 3 4.", "answer": "9"}\n')
    evaluation = uq.evaluate(model, [file], n=2, template="{problem}", verifier=lambda problem, response: False)
    assert evaluation.summary.avg.mean == 0.0
    assert evaluation.samples["benchmark"].to_pylist() == ["sums", "sums"]


def test_a_run_is_asked_as_it_was_trained(tmp_path: Path):
    recipe = small_recipe(rollout={"max_tokens": 11}, evaluation={"temperature": 0.3})
    run = RunDirectory.create(tmp_path / "run", {"recipe": recipe.model_dump(mode="json")})
    run.close()
    policy = run.path / "checkpoints" / "step-000005" / "policy"
    policy.parent.mkdir(parents=True)
    policy.symlink_to(embedded_model_path())
    heard = Heard()
    evaluation = uq.evaluate(run.path, "countdown", n=2, limit=2, progress=heard)
    assert (evaluation.record["temperature"], evaluation.record["settings"]["countdown"]["max_tokens"]) == (0.3, 11)
    assert max(evaluation.samples["num_tokens"].to_pylist()) <= 11
    assert any("run.json" in text and "max_tokens 11" in text and "temperature 0.3" in text for text in heard.said)
    # A checkpoint in it says the same; what is given comes first.
    heard = Heard()
    hotter = uq.diagnose(policy.parent, "countdown", n=2, limit=2, temperature=1.0, progress=heard)
    assert hotter.record["temperature"] == 1.0
    assert hotter.tasks["countdown"].tokens_max <= 11
    assert any("max_tokens 11" in text and "temperature" not in text for text in heard.said)


def test_a_diagnosis_goes_on_where_it_stopped(model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    stop, calls = StopRequest(), []
    generate = type(model.engine).generate

    def until_second(self, prompts, n, sampling, **options):
        calls.append((len(prompts), n, sampling.temperature))
        stop.asked = len(calls) == 2
        return generate(self, prompts, n, sampling, **options)

    monkeypatch.setattr(type(model.engine), "generate", until_second)
    out = tmp_path / "found.json"
    with pytest.raises(Interrupted):
        uq.diagnose(replace(model, max_rows=4), "countdown", n=48, limit=2, out=out, stop=stop)
    assert not out.exists()
    # Calls of eight times four rows, two problems and a block of 16 each. The wish comes with the second, and is
    # granted when a problem of it has its block.
    assert calls == [(2, 16, 0.7), (2, 16, 0.7)]
    drawn = sum(pq.read_table(part).num_rows for part in Path(f"{out}.samples").glob("parts/*.parquet"))
    assert drawn in (48, 64)
    calls.clear()
    found = uq.diagnose(model, "countdown", n=48, limit=2, out=out)
    assert drawn + sum(prompts * n for prompts, n, temperature in calls if temperature) == 96
    assert found.tasks["countdown"].num_samples == 96
    assert out.exists()
    assert [entry.name for entry in tmp_path.iterdir()] == ["found.json"]
    whole = uq.diagnose(model, "countdown", n=48, limit=2)
    # Batches of other shapes round otherwise.
    for name, value in asdict(whole.tasks["countdown"]).items():
        other = asdict(found.tasks["countdown"])[name]
        assert other == (pytest.approx(value, abs=1e-5) if isinstance(value, float) else value), name


def test_the_entropy_of_texts_is_that_of_the_tokens_drawn(model):
    """The embedded model's tokenizer gives back the tokens that were drawn, but for the end token."""
    problems = [make_problem([2, 3, 4], 9), make_problem([5, 3, 1], 9)]
    prompts = [model.policy.tokenizer(problem.prompt)["input_ids"] for problem in problems]
    groups = model.engine.generate(
        prompts, 8, Sampling(max_tokens=20, temperature=0.7), seeds=prompt_seeds(0, len(prompts))
    )
    end = model.policy.tokenizer.eos_token_id
    for group in groups:
        for one in group:
            ids = model.policy.tokenizer(one.text, add_special_tokens=False)["input_ids"]
            assert ids + [end] * (one.stop_reason is StopReason.EOS) == one.tokens.tolist()
    texts = [[one.text for one in group] for group in groups]
    ended = [[one.stop_reason is StopReason.EOS for one in group] for group in groups]
    assert any(map(any, ended))
    with_end = mean_entropy(model.policy, prompts, texts, ended)
    without = mean_entropy(model.policy, prompts, texts, [[False] * 8] * 2)
    # The model is sure of where its three steps end: without those tokens the mean is higher.
    assert 0 < with_end < without
    assert math.isnan(mean_entropy(model.policy, prompts, [[], []], [[], []]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n": 0}, "n is 0"),
        ({"limit": 0}, "limit is 0"),
        ({"credit": "x"}, "credit"),
        ({"temperature": -1.0}, "temperature is -1"),
        ({"timeout_s": 0.0}, r"verify\.timeout_s is 0"),
        ({"max_tokens": 500}, "max_tokens is 500, give at most"),
        ({"verifier": 7}, "the verifier is a int"),
    ],
)
def test_a_mistake_names_the_setting(model, tmp_path: Path, settings: dict, message: str):
    with pytest.raises(UserError, match=message):
        uq.evaluate(model, "countdown", out=tmp_path / "out", **{"limit": 2, "n": 2} | settings)
    assert not (tmp_path / "out").exists()


def test_a_model_that_is_none(tmp_path: Path):
    with pytest.raises(UserError, match=r"rollout\.engine is 'x'"):
        uq.load_model("countdown-0.4m", engine="x")
    with pytest.raises(UserError, match=r"model\.device"):
        uq.load_model("countdown-0.4m", device="tpu")
    with pytest.raises(UserError, match="no causal language model"):
        uq.load_model(str(tmp_path))
