"""`uq.select` and `uq.irl`: SPS between the epochs of any trainer."""

import json
from pathlib import Path
from typing import Any

import pytest

import unsqueeze as uq
from unsqueeze.errors import Interrupted, UserError
from unsqueeze.policy.policy import Policy
from unsqueeze.progress import StopRequest
from unsqueeze.training import irl_alone

# By hand: k = 1 of the negatives of each problem, the less likely half: b of p (−3 < −1), c of q.
ROLLOUTS = [
    {"problem_id": "p", "prompt": "ask p", "completion": "a", "reward": 0, "mean_logp": -1.0},
    {"problem_id": "p", "prompt": "ask p", "completion": "b", "reward": 0, "mean_logp": -3.0},
    {"problem_id": "q", "prompt": "ask q", "completion": "c", "reward": 0, "mean_logp": -2.0},
    {"problem_id": "q", "prompt": "ask q", "completion": "d", "reward": 1, "mean_logp": -9.0},
]
DEMOS = [
    {"prompt": "Make 48 from 2 3 6 14.", "completion": "14 - 6 = 8, 8 * 3 = 24, 24 * 2 = 48"},
    {"prompt": "Make 24 from 1 2 3 4.", "completion": "1 * 2 = 2, 2 * 3 = 6, 6 * 4 = 24"},
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_what_is_selected_is_gone_through_and_written_alike(tmp_path: Path):
    source, out = write(tmp_path / "r.jsonl", ROLLOUTS), tmp_path / "demos.jsonl"
    selected = uq.select(source, k=1, out=out)
    assert len(selected) == 2
    assert [demo["completion"] for demo in selected] == ["b", "c"]
    assert [json.loads(line) for line in out.read_text().splitlines()] == list(selected)
    assert "2 demonstrations" in selected.describe()
    before = sorted(tmp_path.iterdir())
    assert [demo["completion"] for demo in uq.select(source, k=1, pool="positives")] == ["d"]
    assert sorted(tmp_path.iterdir()) == before  # without out nothing is written


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"pool": "best"}, ["pool is 'best'", "negatives_first"]),
        ({"likelihood": "max"}, ["likelihood is 'max'", "mean, sum"]),
        ({"k": 0}, ["k is 0"]),
        ({"quantile": 1.5}, ["quantile is 1.5"]),
        ({"pool": "positives", "likelihood": "sum"}, ["likelihood sum", "num_tokens"]),
    ],
)
def test_a_wrong_setting_of_select_is_named(tmp_path: Path, given: dict[str, Any], words: list[str]):
    source = write(tmp_path / "r.jsonl", ROLLOUTS)
    with pytest.raises(UserError) as refused:
        uq.select(source, out=tmp_path / "demos.jsonl", **given)
    for word in words:
        assert word in str(refused.value)
    assert not (tmp_path / "demos.jsonl").exists()
    with pytest.raises(UserError, match="is a file of rollouts itself"):
        uq.select(source, out=source)


def test_an_irl_phase_gives_its_report_and_a_checkpoint(tmp_path: Path):
    demos = write(tmp_path / "demos.jsonl", DEMOS)
    result = uq.irl("countdown-0.4m", demos, out=tmp_path / "after", learning_rate=1e-3, steps=2, seed=5)
    assert result.path == tmp_path / "after"
    assert result.report.num_updates == 2
    assert result.report.nll_after < result.report.nll_before
    assert result.warnings == []
    record = json.loads((result.path / "irl_report.json").read_text())
    assert record["report"]["nll_after"] == result.report.nll_after
    assert record["irl"]["learning_rate"] == result.settings.learning_rate == 1e-3
    assert [update["loss"] for update in record["updates"]] == [update["loss"] for update in result.updates]
    assert Policy.load(uq.load_recipe("smoke").model.model_copy(update={"path": str(result.path)})) is not None


def test_an_irl_phase_that_did_nothing_says_so(tmp_path: Path):
    demos = write(tmp_path / "demos.jsonl", DEMOS)
    result = uq.irl("countdown-0.4m", demos, out=tmp_path / "a", learning_rate=1e-13, steps=1, kl_budget=1e3)
    nothing, unspent = result.warnings
    assert "DID NOTHING" in nothing
    assert nothing.endswith("raise learning_rate.")
    assert "without spending kl_budget 1000" in unspent


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"learning_rate": 0}, ["irl.learning_rate is 0"]),
        ({"steps": 2, "passes": -1.0}, ["irl.passes is -1"]),
        ({"schedule": "stairs"}, ["irl.schedule is 'stairs'", "cosine"]),
        ({"compute_dtype": "int8"}, ["model.compute_dtype is 'int8'"]),
        ({"dtype": "int8"}, ["dtype is 'int8'", "bfloat16"]),
        ({"tokens_per_microbatch": 0}, ["tokens_per_microbatch is 0"]),
        ({"max_tokens": 500}, ["max_tokens is 500", "context"]),
    ],
)
def test_a_wrong_setting_of_irl_is_named(tmp_path: Path, given: dict[str, Any], words: list[str]):
    demos = write(tmp_path / "demos.jsonl", DEMOS)
    with pytest.raises(UserError) as refused:
        uq.irl("countdown-0.4m", demos, out=tmp_path / "after", **given)
    for word in words:
        assert word in str(refused.value)
    assert not (tmp_path / "after").exists()


def test_a_phase_that_is_stopped_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    stop, updates = StopRequest(), irl_alone.irl_updates

    def stopping(*arguments: Any, **keywords: Any):
        for update in updates(*arguments, **keywords):
            stop.asked = True
            yield update

    monkeypatch.setattr(irl_alone, "irl_updates", stopping)
    demos = write(tmp_path / "demos.jsonl", DEMOS)
    with pytest.raises(Interrupted):
        uq.irl("countdown-0.4m", demos, out=tmp_path / "after", steps=3, stop=stop)
    assert list(tmp_path.iterdir()) == [demos]
