"""SPSTrainer whose rollouts the real vLLM draws, in the trainer's process, on a CPU: `make test-vllm`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trainers.sps_folders import report, stored
from wide_heads import save_wide

pytestmark = pytest.mark.vllm
HERE = Path(__file__).parent
STEPS = 6


def test_vllm_draws_from_the_weights_that_a_phase_left(tmp_path: Path):
    save_wide(tmp_path / "wide")
    config = {
        "max_steps": STEPS,
        "use_vllm": True,
        "vllm_mode": "colocate",
        "vllm_max_model_length": 128,
        "vllm_gpu_memory_utilization": 0.05,
        # A step of RL moves next to nothing here, a phase much.
        "learning_rate": 1e-8,
        "sps_every_steps": 2,
        "sps_learning_rate": 1e-3,
        "sps_batch_size": 4,
        "sps_k": 2,
    }
    out = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, HERE / "vllm_run.py", tmp_path / "wide", out, json.dumps(config)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line for line in json.loads((out / "log.json").read_text()) if "loss" in line]
    # TRL's own measure: vLLM's log-probs of what it drew, against those of the weights in the trainer.
    apart = [line["sampling/sampling_logp_difference/max"] for line in lines]
    assert len(apart) == STEPS
    assert max(apart) < 1e-3
    assert [report(out, number)["step"] for number in (1, 3, 5)] == [2, 4, 6]
    for number in (1, 3):
        told = report(out, number)
        assert told["nll_before"] - told["nll_after"] > 0.05
    assert [len(groups) for groups in stored(out).values()] == [2] * STEPS
