"""Command lines of ms-swift for a local folder on a CPU, for the tests that run it from an environment of its own.

`make test-swift` makes the environment; UNSQUEEZE_SWIFT names its `swift`.
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import unsqueeze as uq
from trainers.chat_model import problems, save_chat_model

SWIFT = os.environ.get("UNSQUEEZE_SWIFT", "")
PYTHON = str(Path(SWIFT).parent / "python")
NONE = "UNSQUEEZE_SWIFT names no swift; `make test-swift` makes an environment."
HERE = Path(__file__).parent
LOADING = {
    "model_type": "llama", "template": "dummy", "tuner_type": "full", "torch_dtype": "float32", "fp16": "false",
    "bf16": "false", "add_version": "false", "report_to": "none", "dataset_num_proc": "1",
    "dataloader_num_workers": "0", "split_dataset_ratio": "0",
}  # fmt: skip


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": "", "OMP_NUM_THREADS": "1", **more}


def written(settings: dict[str, Any]) -> list[str]:
    arguments = []
    for name, value in settings.items():
        parts = value if isinstance(value, list) else [value]
        arguments += [f"--{name}", *map(str, parts)]
    return arguments


def swift(command: str, *, sps: str = "", processes: int = 1, **settings: object) -> None:
    """Run the command itself. Without ``use_cpu`` accelerate gathers nothing from several processes on a CPU."""
    many = {"NPROC_PER_NODE": str(processes)} if processes > 1 else {}
    together = {"use_cpu": "true", "ddp_backend": "gloo"} if processes > 1 else {}
    done = subprocess.run(
        [SWIFT, command, *written(LOADING | together | settings)],
        capture_output=True,
        text=True,
        check=False,
        env=environment(UNSQUEEZE_SPS=sps, **many),
    )
    assert done.returncode == 0, done.stderr[-3000:]


def grpo(model: Path, out: Path, **more: object) -> dict[str, Any]:
    """Settings of `swift rlhf`: four steps of two prompts with four answers each."""
    plugins = [HERE / "swift_reward.py"] + ([uq.plugin("swift")] if "callbacks" in more else [])
    return LOADING | {
        "rlhf_type": "grpo", "model": model, "dataset": model / "train.jsonl", "output_dir": out, "use_vllm": "false",
        "external_plugins": plugins, "reward_funcs": "target", "log_completions": "true", "temperature": 1.0,
        "per_device_train_batch_size": 8, "per_device_eval_batch_size": 8, "gradient_accumulation_steps": 1,
        "num_generations": 4, "max_completion_length": 24, "max_steps": 4, "save_steps": 1, "save_total_limit": 20,
        "logging_steps": 1, "learning_rate": 1e-4, "lr_scheduler_type": "constant", "weight_decay": 0,
        "gradient_checkpointing": "false",
    } | more  # fmt: skip


def run_all(runs: list[dict[str, Any]]) -> list[int]:
    """Exit codes of runs (`swift_runs.py`)."""
    done = subprocess.run(
        [PYTHON, HERE / "swift_runs.py"],
        input=json.dumps(runs),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=environment(),
    )
    codes: list[int] = json.loads(done.stdout.splitlines()[-1])
    return codes


def save_model_and_data(folder: Path) -> None:
    """The embedded model with a chat template, `train.jsonl` and, of other problems, `eval.jsonl`."""
    save_chat_model(folder)
    for name, texts in (("train", problems(0, 64)), ("eval", problems(1000, 8))):
        lines = [{"messages": [{"role": "user", "content": text}], "solution": text.split()[1]} for text in texts]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
