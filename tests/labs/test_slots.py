"""Places for runs: a GPU each, or cores."""

import os

import pytest
import torch

from unsqueeze.config.load import check_recipe
from unsqueeze.labs.slots import slots_for

RECIPE = check_recipe({"name": "r"}, "test")
ON_CPU = check_recipe({"name": "r", "model": {"device": "cpu"}}, "test")


def test_cores_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(8), raising=False)
    assert len(slots_for(RECIPE, None)) == 8
    assert slots_for(RECIPE, 3) == [{"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"}] * 3
    assert slots_for(RECIPE, 16)[0]["OMP_NUM_THREADS"] == "1"


def test_every_run_has_a_gpu_and_more_runs_share_them_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert slots_for(RECIPE, None) == [{"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "1"}]
    assert [slot["CUDA_VISIBLE_DEVICES"] for slot in slots_for(RECIPE, 3)] == ["0", "1", "0"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    assert [slot["CUDA_VISIBLE_DEVICES"] for slot in slots_for(RECIPE, None)] == ["4", "7"]
    assert "CUDA_VISIBLE_DEVICES" not in slots_for(ON_CPU, 1)[0]
