"""How CPU time and memory of an update and of rollouts grow with completions, length, group size and vocabulary.

    python benchmarks/growth.py --out docs/results/growth-cpu.md

The model is a plain decoder with random weights: 4 layers, 128 wide, 4 heads. Along each axis one size is doubled and
all others stay as they are. Every point is made in a process of its own, on one thread: a small call warms up, then
the call is timed, in CPU time, which other work on the machine lengthens less than time by the clock. The exponent is
the slope of log time over log size by least squares: 1 is linear. Memory is what the process's largest resident size
rises by in that call, over what the warm-up took it to.

An update is one optimizer step on rows with 32 tokens of prompt, in micro-batches of 8,192 tokens. Rollouts are drawn
at temperature 1; hardly any ends before its limit.
"""

import argparse
import json
import math
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pages import deliver, this_commit

PROMPT, PER_MICROBATCH = 32, 8192
USUAL = {"completions": 256, "length": 64, "group": 8, "vocabulary": 4096}
AXES: Mapping[str, Sequence[int]] = {
    "completions": (256, 512, 1024, 2048),
    "length": (64, 128, 256, 512),
    "group": (2, 4, 8, 16, 32),
    "vocabulary": (4096, 8192, 16384, 32768),
}
WORK = ("update", "rollouts")
MEANING = {
    "completions": "completions of a step",
    "length": "tokens of a response",
    "group": "completions of a prompt, their number as it is",
    "vocabulary": "vocabulary",
}


def measure(what: str, sizes: Mapping[str, int]) -> dict[str, float]:
    """CPU seconds of a call and megabytes that it adds, in this process."""
    import torch

    from unsqueeze.policy.loading import without_progress_bars

    without_progress_bars()
    torch.set_num_threads(1)
    call = {"update": _update, "rollouts": _rollouts}[what]
    call({**sizes, "completions": 2 * sizes["group"], "length": 8})()
    work = call(sizes)
    before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    work()
    seconds = time.process_time() - begun
    return {"seconds": seconds, "mb": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024}


def _policy(vocabulary: int) -> Any:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from unsqueeze.config.load import arms_of, load_recipe
    from unsqueeze.policy.policy import Policy

    tokenizer = Policy.load(arms_of(load_recipe("quickstart", []), "quickstart")["grpo"].model).tokenizer
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=1024,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return Policy(LlamaForCausalLM(config), tokenizer)


def _update(sizes: Mapping[str, int]) -> Callable[[], object]:
    import numpy as np

    from unsqueeze.config.rl_settings import RlSettings
    from unsqueeze.policy.batch import Row
    from unsqueeze.policy.optimize import make_optimizer, optimizer_step
    from unsqueeze.training.rl_step import surrogate_loss

    policy, settings = _policy(sizes["vocabulary"]), RlSettings()
    rng = np.random.default_rng(0)
    num_rows, length = sizes["completions"], sizes["length"]
    prompts = rng.integers(4, sizes["vocabulary"], (num_rows // sizes["group"], PROMPT), dtype=np.int32)
    rows = [
        Row(
            prompt_tokens=prompts[place // sizes["group"]],
            tokens=rng.integers(4, sizes["vocabulary"], length, dtype=np.int32),
            weight=1 / (num_rows * length),
            advantage=1.0 if place % 2 else -1.0,
            logp_proximal=np.full(length, -math.log(sizes["vocabulary"]), dtype=np.float32),
        )
        for place in range(num_rows)
    ]
    return partial(
        optimizer_step,
        policy,
        make_optimizer(policy, settings),
        rows,
        partial(surrogate_loss, settings=settings),
        tokens_per_microbatch=PER_MICROBATCH,
        max_grad_norm=1.0,
    )


def _rollouts(sizes: Mapping[str, int]) -> Callable[[], object]:
    import numpy as np

    from unsqueeze.rollout.hf import HfEngine
    from unsqueeze.rollout.types import Sampling

    policy, rng = _policy(sizes["vocabulary"]), np.random.default_rng(0)
    num_prompts = sizes["completions"] // sizes["group"]
    prompts = rng.integers(4, sizes["vocabulary"], (num_prompts, PROMPT)).tolist()
    engine = HfEngine(policy.model, policy.tokenizer)
    sampling = Sampling(temperature=1.0, max_tokens=sizes["length"])
    return lambda: engine.generate(prompts, sizes["group"], sampling, seeds=range(num_prompts))


def measured(what: str, sizes: Mapping[str, int], turns: int) -> dict[str, float]:
    """Medians over ``turns`` processes."""
    command = [sys.executable, __file__, "--point", json.dumps([what, sizes])]
    found = [
        json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout) for _ in range(turns)
    ]
    return {name: statistics.median(each[name] for each in found) for name in ("seconds", "mb")}


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Slope b of log y = a + b·log x by least squares."""
    xs, ys = [math.log(size) for size in sizes], [math.log(value) for value in values]
    x_mean, y_mean = statistics.fmean(xs), statistics.fmean(ys)
    above = sum((x - x_mean) * (y - y_mean) for x, y in zip(xs, ys, strict=True))
    return above / sum((x - x_mean) ** 2 for x in xs)


def lines_of(what: str, axis: str, turns: int) -> str:
    """A line of the table: one axis of one kind of work."""
    sizes = AXES[axis]
    points = []
    for size in sizes:
        points.append(measured(what, USUAL | {axis: size}, turns))
        print(
            f"{what}, {axis} {size}: {points[-1]['seconds']:.2f} s, {points[-1]['mb']:.0f} MB",
            file=sys.stderr,
            flush=True,
        )
    seconds = [point["seconds"] for point in points]
    cells = [
        what,
        MEANING[axis],
        " · ".join(f"{size:,}" for size in sizes),
        " · ".join(f"{each:.2f}" for each in seconds),
        f"{round(exponent(sizes, seconds), 2) + 0:.2f}",  # no minus before zero
        " · ".join(f"{point['mb']:.0f}" for point in points),
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--turns", type=int, default=3, help="processes that a point is the median of")
    parser.add_argument("--work", nargs="+", choices=WORK, default=WORK)
    parser.add_argument("--axes", nargs="+", choices=list(AXES), default=list(AXES))
    parser.add_argument("--out", type=Path, help="the page to write; without it, it is printed")
    parser.add_argument("--point", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.point is not None:
        print(json.dumps(measure(*arguments.point)))
        return

    lines = [lines_of(what, axis, arguments.turns) for what in arguments.work for axis in arguments.axes]
    commit = this_commit()
    usual = ", ".join(f"{MEANING[axis].partition(',')[0]} {size:,}" for axis, size in USUAL.items())
    page = "\n".join(
        [
            "# How time and memory grow",
            "",
            f"Made by `python benchmarks/growth.py --turns {arguments.turns}` at commit `{commit}`: torch "
            f"{version('torch')}, transformers {version('transformers')}, one thread, other work on the machine. "
            f"Medians over processes; where an axis is not the one that grows: {usual}.",
            "",
            "| work | what grows | sizes | CPU s | exponent of time | MB more |",
            "| --- | --- | --- | --- | ---: | --- |",
            *lines,
            "",
        ]
    )
    deliver(page, arguments.out)


if __name__ == "__main__":
    main()
