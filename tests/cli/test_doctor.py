"""`unsqueeze doctor`: what it says was tried, and what is broken is said."""

import json

import pytest
import torch

from unsqueeze.api import health
from unsqueeze.rollout.hf import HfEngine
from unsqueeze.verify.confine import can_confine


def test_here_everything_needed_works(command):
    code, printed, _ = command("doctor", "--json")
    assert code == 0
    report = json.loads(printed)
    assert report["works"] is True
    findings = {finding["name"]: finding for finding in report["findings"]}
    assert f"torch {torch.__version__}" in findings["packages"]["detail"]
    assert "Make 48 from 2 3 6 14." in findings["hf engine on cpu"]["detail"]
    assert "correct" in findings["verifier of mathematics"]["detail"]
    assert findings["confinement of judged answers"]["works"] is can_confine()
    if not torch.cuda.is_available():
        assert findings["hf engine on cuda"]["works"] is False
        assert findings["hf engine on cuda"]["advice"]


def test_what_is_broken_is_said_and_the_rest_still_tried(command, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no such instruction")

    monkeypatch.setattr(HfEngine, "generate", fail)
    monkeypatch.setattr(health, "math_verifier", lambda: [health.Finding("verifier of mathematics", True, "fine")])
    monkeypatch.setattr(health, "EXTRAS", {"no-such-package": ("dreams", "pip install dreams")})
    code, printed, _ = command("doctor")
    assert code == 1
    assert "BROKEN  hf engine on cpu: RuntimeError: no such instruction" in printed
    assert "ok      verifier of mathematics: fine" in printed
    assert "absent  no-such-package: not installed; for dreams" in printed
    assert "→ pip install dreams" in printed
    assert "does not work" in printed
