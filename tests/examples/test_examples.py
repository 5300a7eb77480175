"""Every file of examples/ runs as its first lines say, and does what it is an example of."""

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import unsqueeze as uq

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs an example as a user does, from another folder, but inside this process; gives what it prints."""

    def run(name: str, *arguments: str) -> str:
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend(str(EXAMPLES))  # as Python does for a script
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return run


def test_every_example_has_a_test() -> None:
    tested = {"minimal_sps.py", "own_verifier.py", "own_advantages.py", "own_task.py", "notebook.ipynb"}
    assert {path.name for path in EXAMPLES.iterdir() if path.is_file()} == tested


def test_minimal_sps_raises_the_likelihood_of_what_was_unlikely(run: Callable[..., str]) -> None:
    printed = run("minimal_sps.py")
    phases = [line.rpartition("rollouts ")[2].split(", ") for line in printed.splitlines() if "IRL phase" in line]
    assert len(phases) == 2
    assert all(float(after) < float(before) for before, after in phases)
    assert printed.count("RL step") == 6


def test_own_verifier_rewards_what_the_function_says(tmp_path: Path, run: Callable[..., str]) -> None:
    run("own_verifier.py", "run")
    rollouts = uq.open_run(tmp_path / "run").rollouts().to_pylist()
    right = [one["text"] for one in rollouts if one["verdict"] == "correct"]
    assert right
    assert not any("*" in text for text in right)
    multiplied = [one["verdict"] for one in rollouts if "*" in one["text"]]
    assert multiplied
    assert set(multiplied) == {"wrong"}


def test_own_advantages_train_and_are_on_record(tmp_path: Path, run: Callable[..., str]) -> None:
    printed = run("own_advantages.py", "run")
    assert printed.count("RL step") == 2
    assert uq.open_run(tmp_path / "run").info["own"]["advantages"] == "__main__:leave_one_out"


def test_leave_one_out_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of rewards 1, 0, 0 and one not judged: 1 − 0, 0 − 1/2, 0 − 1/2, none."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from own_advantages import leave_one_out

    zeros = torch.zeros(1, 4)
    groups = uq.losses.Groups(
        rewards_PG=torch.tensor([[1.0, 0.0, 0.0, torch.nan]]),
        num_tokens_PG=torch.ones(1, 4, dtype=torch.int64),
        logp_sum_PG=zeros,
        logp_PGT=zeros[..., None],
    )
    advantages = leave_one_out(groups, uq.ALGORITHMS["grpo"])
    assert advantages.values.tolist() == [[1.0, -0.5, -0.5, 0.0]]
    assert advantages.trains_PG.tolist() == [[True, True, True, False]]


def test_own_task_trains_and_is_on_record(tmp_path: Path, run: Callable[..., str]) -> None:
    printed = run("own_task.py", "run")
    opened = uq.open_run(tmp_path / "run")
    assert opened.recipe.data.kind == "own_task:Sums"
    assert set(opened.rollouts()["task"].to_pylist()) == {"own_task:Sums"}
    assert "8 problems of own_task:Sums" in printed


@pytest.mark.parametrize(
    ("response", "right"),
    [
        ("3 + 4 = 7, 5 + 6 = 11, 7 + 11 = 18", True),
        ("3 + 4 = 7, 7 + 5 = 12, 12 + 6 = 18", True),
        ("3 + 4 = 8, 8 + 5 = 13, 13 + 5 = 18", False),
        ("9 + 9 = 18", False),
        ("3 + 4 = 7, 7 + 5 = 12", False),
        ("18", False),
        ("", False),
    ],
)
def test_adds_up(response: str, right: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from own_task import adds_up

    problem = uq.Problem(id="a", prompt="Make 18 from 3 4 5 6.", answer="18", task="own_task:Sums")
    assert adds_up(problem, response) is right


def test_notebook_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib").use("agg")
    monkeypatch.chdir(tmp_path)
    cells = json.loads((EXAMPLES / "notebook.ipynb").read_text("utf-8"))["cells"]
    assert not any(cell.get("outputs") for cell in cells), "outputs are not kept in the file"
    names: dict[str, object] = {"__name__": "__main__"}
    for number, cell in enumerate(cells):
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
    evaluations = names["evaluations"]
    assert isinstance(evaluations, dict)
    assert [one.samples.num_rows for one in evaluations.values()] == [24 * 32, 24 * 32]
