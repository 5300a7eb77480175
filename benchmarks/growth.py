"""How CPU time and memory of an update and of rollouts grow with completions, length, group size and vocabulary.

    python benchmarks/growth.py --out docs/results/growth-cpu.md
    python benchmarks/growth.py --model ./smollm2 --work rollouts --axes length --completions 16    # of a real model

The model is a plain decoder with random weights, 4 layers, 128 wide, 4 heads, or ``--model``. Along each axis one size
is doubled and all others stay as they are. Every point is made in a process of its own, forked from one that has loaded
the libraries, on one thread: a small call warms up, then the call is timed, ``--turns`` times, in CPU time, which other
work on the machine lengthens less than time by the clock. The exponent is the slope of log time over log size by least
squares, one a turn: 1 is linear. Memory is what the process's largest resident size rises by in the first call, over
what the warm-up took it to.

An update is one optimizer step on rows with 32 tokens of prompt, in micro-batches of as many tokens as a third of the
usual step has, 4,096 at most. Rollouts are drawn at temperature 1, and do not end before their limit.
``--completions``, ``--length`` and ``--doublings`` make all of it smaller: where little is computed fixed costs weigh,
and exponents are less.
"""

import argparse
import math
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pages import deliver, made_by, median_and_range
from unsqueeze.cost.memory import TOKENS_AT_ONCE_ON_CPU

PROMPT, GROUP, VOCABULARY = 32, 8, 4096
PER_MICROBATCH = 32
"""Tokens of a micro-batch, for each completion of the usual step."""
WORK = ("update", "rollouts")
MEANING = {
    "completions": "completions of a step",
    "length": "tokens of a response",
    "group": "completions of a prompt, their number as it is",
    "vocabulary": "vocabulary",
}


def measure(what: str, sizes: Mapping[str, int], turns: int, model: Path | None) -> dict[str, list[float]]:
    """CPU seconds of each call, and megabytes that the first adds, in this process."""
    call = {"update": _update, "rollouts": _rollouts}[what]
    policy = _random_policy(sizes["vocabulary"]) if model is None else _policy_at(model)
    call(policy, {**sizes, "completions": 2 * sizes["group"], "length": 8})()
    work = call(policy, sizes)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds, mb = [], []
    for _ in range(turns):
        begun = time.process_time()
        work()
        seconds.append(time.process_time() - begun)
        mb.append((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
    return {"seconds": seconds, "mb": mb[:1]}


def _policy_at(model: Path) -> Any:
    from unsqueeze.config.model_settings import ModelSettings
    from unsqueeze.policy.policy import Policy

    return Policy.load(ModelSettings(path=str(model), device="cpu"))


def _random_policy(vocabulary: int) -> Any:
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


def _update(policy: Any, sizes: Mapping[str, int]) -> Callable[[], object]:
    import numpy as np

    from unsqueeze.config.rl_settings import RlSettings
    from unsqueeze.policy.batch import Row
    from update import update_of

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
    return update_of(policy, RlSettings(tokens_per_microbatch=sizes["per_microbatch"]), rows)


def _rollouts(policy: Any, sizes: Mapping[str, int]) -> Callable[[], object]:
    import numpy as np

    from unsqueeze.rollout.hf import HfEngine
    from unsqueeze.rollout.types import Sampling

    rng = np.random.default_rng(0)
    num_prompts = sizes["completions"] // sizes["group"]
    prompts = rng.integers(4, sizes["vocabulary"], (num_prompts, PROMPT)).tolist()
    engine = HfEngine(policy.model, policy.tokenizer)
    engine._end_ids = ()  # no response ends early; to bar its end would be another way of sampling
    sampling = Sampling(temperature=1.0, max_tokens=sizes["length"])
    return lambda: engine.generate(prompts, sizes["group"], sampling, seeds=range(num_prompts))


def measured(what: str, sizes: Mapping[str, int], turns: int, model: Path | None) -> dict[str, list[float]]:
    """The same in a process of its own: a fork of this one, which has no thread but this."""
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe(duplex=False)
    child = fork.Process(target=lambda: theirs.send(measure(what, sizes, turns, model)))
    child.start()
    theirs.close()
    try:
        found: dict[str, list[float]] = ours.recv()
    except EOFError:
        raise SystemExit(f"{what} of {dict(sizes)} failed; what it said is above") from None
    child.join()
    return found


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Slope b of log y = a + b·log x by least squares."""
    xs, ys = [math.log(size) for size in sizes], [math.log(value) for value in values]
    x_mean, y_mean = statistics.fmean(xs), statistics.fmean(ys)
    above = sum((x - x_mean) * (y - y_mean) for x, y in zip(xs, ys, strict=True))
    return above / sum((x - x_mean) ** 2 for x in xs)


def line_of(
    what: str, axis: str, sizes: Sequence[int], usual: Mapping[str, int], turns: int, model: Path | None
) -> str:
    """A line of the table: one axis of one kind of work."""
    points = []
    for size in sizes:
        points.append(measured(what, {**usual, axis: size}, turns, model))
        print(f"{what}, {axis} {size}: {points[-1]}", file=sys.stderr, flush=True)
    exponents = [exponent(sizes, seconds) for seconds in zip(*(point["seconds"] for point in points), strict=True)]
    cells = [
        what,
        MEANING[axis],
        " · ".join(f"{size:,}" for size in sizes),
        " · ".join(median_and_range(point["seconds"], 2) for point in points),
        median_and_range([round(each, 2) + 0 for each in exponents], 2),  # no minus before zero
        " · ".join(f"{point['mb'][0]:.0f}" for point in points),
    ]
    return f"| {' | '.join(cells)} |"


def vocabulary_of(model: Path) -> int:
    """How many token ids a checkpoint knows."""
    from transformers import AutoConfig

    return int(AutoConfig.from_pretrained(model).vocab_size)


def load() -> None:
    """Load what all points need, so that none has to."""
    import torch
    from transformers import LlamaForCausalLM  # noqa: F401

    import unsqueeze.rollout.hf
    import unsqueeze.training.rl_step  # noqa: F401
    from unsqueeze.policy.loading import without_progress_bars

    without_progress_bars()
    torch.set_num_threads(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--turns", type=int, default=5, help="calls that a point is the median of")
    parser.add_argument("--work", nargs="+", choices=WORK, default=WORK)
    parser.add_argument(
        "--axes", nargs="+", choices=list(MEANING), help="all that there are; of a model without vocabulary"
    )
    parser.add_argument("--model", type=Path, help="a checkpoint; without it, a model with random weights")
    parser.add_argument("--completions", type=int, default=256, help="of the usual step, and least on their axis")
    parser.add_argument("--length", type=int, default=64, help="usual tokens of a response, and least on their axis")
    parser.add_argument("--doublings", type=int, default=3, help="of the size of an axis")
    parser.add_argument("--out", type=Path, help="the page to write; without it, it is printed")
    arguments = parser.parse_args()
    grown = arguments.axes or [axis for axis in MEANING if arguments.model is None or axis != "vocabulary"]
    if arguments.model is not None and "vocabulary" in grown:
        parser.error("--axes vocabulary: a checkpoint has the vocabulary that it has; leave --model out")
    load()
    usual = {
        "completions": arguments.completions,
        "length": arguments.length,
        "group": GROUP,
        "vocabulary": VOCABULARY if arguments.model is None else vocabulary_of(arguments.model),
        "per_microbatch": min(PER_MICROBATCH * arguments.completions, TOKENS_AT_ONCE_ON_CPU),
    }
    least = {**usual, "group": GROUP >> arguments.doublings - 1}
    axes = {axis: [least[axis] << times for times in range(arguments.doublings + 1)] for axis in grown}
    lines = [
        line_of(what, axis, sizes, usual, arguments.turns, arguments.model)
        for what in arguments.work
        for axis, sizes in axes.items()
    ]
    named = ", ".join(f"{MEANING[axis].partition(',')[0]} {usual[axis]:,}" for axis in MEANING)
    name = "A decoder with random weights." if arguments.model is None else f"{arguments.model.name}, random tokens."
    page = "\n".join(
        [
            "# How time and memory grow",
            "",
            f"{made_by('torch', 'transformers')} {name} One thread; medians of {arguments.turns} calls, "
            "smallest and largest. "
            f"Where an axis is not the one that grows: {named}; micro-batches of {usual['per_microbatch']:,} tokens.",
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
