"""What is on the disk before a checkpoint is there, and what the journal says of it."""

from pathlib import Path

import pytest
import torch

from durability import record_durability
from lives import live, tiny_recipe
from unsqueeze.store.run_directory import RunDirectory

pytestmark = pytest.mark.usefixtures("judged_by_hash")


def test_metrics_are_on_the_disk_before_a_checkpoint_and_the_journal_tells_of_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A checkpoint counts the lines of metrics behind it: a resumed run would miss those that a power cut took."""
    path = tmp_path / "run"
    events = record_durability(monkeypatch)
    live(tiny_recipe(), path)

    since_the_last: list[str] = []
    saved = []
    for kind, what in events:
        if kind == "rename" and what.parent.name == "checkpoints":
            assert "metrics.jsonl" in since_the_last, what
            saved.append(what.name)
            since_the_last = []
        elif kind == "fsync":
            since_the_last.append(what.name)
    assert saved == [f"step-{step:06}" for step in (1, 2, 3, 4)]

    directory = RunDirectory.open(path)
    told = [event for event in directory.journal.read() if event["event"] == "checkpoint"]
    assert [(event["step"], event["path"]) for event in told] == list(enumerate(saved, start=1))
    # Behind a checkpoint is every update up to its step, those of an IRL phase that ends there too.
    metrics = directory.metrics.read()
    for event in told:
        assert event["policy_version"] == max(m["policy_version"] for m in metrics if m["step"] <= event["step"])


def test_gradients_are_cut_at_the_norms_of_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    cut_at: list[float] = []
    clip = torch.nn.utils.clip_grad_norm_

    def recording(parameters, max_norm, *more, **named):
        cut_at.append(max_norm)
        return clip(parameters, max_norm, *more, **named)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", recording)
    path = tmp_path / "run"
    live(tiny_recipe(rl={"max_grad_norm": 0.25}, irl={"max_grad_norm": 0.75}), path)
    updates = [line for line in RunDirectory.open(path).metrics.read() if line.get("updated", True)]
    assert cut_at == [{"rl": 0.25, "irl": 0.75}[line["kind"]] for line in updates]
    assert set(cut_at) == {0.25, 0.75}
