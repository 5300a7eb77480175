"""An RL step, ours beside TRL's GRPO trainer: generating, judging, updating, and what storing every rollout adds.

    python benchmarks/rl_step.py --out docs/results/rl-step-cpu-time.md
    python benchmarks/rl_step.py --model ./smollm2 --problems gsm8k_train.jsonl

Both train a model by GRPO with the same settings (fp32, AdamW), each in a process of its own, ``rl_step_trl.py`` and
``rl_step_ours.py``, taking turns: some steps of TRL's, some of ours, TRL's, ours, and so on. The first steps of a
process warm up, one process after the other. Without ``--model`` it is the embedded Countdown model, 16 prompts × 8
rollouts of at most 20 tokens, rewards by the same judge. With a model of one's own it is problems of a JSONL file as
the recipe ``gsm8k-smollm2`` asks them, and the reward is a coin that the text decides: a model that solves nothing
would leave ours without an update, and TRL with one that changes nothing.

A step is the time from the end of one to the end of the next, so that everything a trainer does between them counts;
neither evaluates or saves checkpoints, and ours stores every rollout. Ours stops inside its first phase, one pass over
its problems: what it reads where a phase begins and ends is not in a step. The ratio is that of the CPU time a step
takes, which other work on the machine lengthens less than time by the clock; the columns of its parts are by the clock.
With ``--kl-coefficients 0 0.01`` each is measured without and with a reference policy. A cell is the median over the
turns, smallest and largest. What TRL reads in one pass is ``--rows-at-once`` of its own.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from launched import asked, told
from models import add_model, check_model, name_of
from pages import deliver, made_by, median_and_range
from rl_step_work import EMBEDDED, Turn, Work

OF_A_MODEL = replace(EMBEDDED, steps=1, warm_up=1, max_tokens=128, learning_rate=1e-6, rows_at_once=8)


def take_turns(work: Work) -> dict[str, list[Turn]]:
    """TRL, ours, TRL, ours, …"""
    found: dict[str, list[Turn]] = {"TRL": [], "ours": []}
    with ExitStack() as stack:
        sides = {}
        for name in found:
            sides[name] = stack.enter_context(side_of(name.lower(), work))
            told(name, sides[name])  # that it is warm, before the next one begins
        for number in range(work.turns):
            for name, taken in found.items():
                taken.append(Turn(**asked(name, sides[name])))
                print(
                    f"beta {work.kl_coefficient:g}, turn {number + 1}, {name}: {taken[-1].cpu_ms:,.0f} CPU ms a step, "
                    f"{taken[-1].peak_mb:,.0f} MB",
                    file=sys.stderr,
                )
    return found


def side_of(side: str, work: Work) -> "subprocess.Popen[str]":
    command = [sys.executable, str(Path(__file__).with_name(f"rl_step_{side}.py")), json.dumps(vars(work))]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


COLUMNS: dict[str, Callable[[Turn], float]] = {
    "a step, CPU ms": lambda turn: turn.cpu_ms,
    "a step, ms": lambda turn: turn.step_ms,
    "generating": lambda turn: turn.generate_ms,
    "judging": lambda turn: turn.judge_ms,
    "storing": lambda turn: turn.store_ms,
    "updating and the rest": lambda turn: turn.rest_ms,
    "tokens drawn a step": lambda turn: turn.tokens,
    "peak memory, MB": lambda turn: turn.peak_mb,
}


def lines_of(kl_coefficient: float, found: dict[str, list[Turn]]) -> list[str]:
    """The rows of one KL coefficient, and the ratios of steps taken in turn."""
    rows = []
    for name, turns in found.items():
        cells = [median_and_range([column(turn) for turn in turns]) for column in COLUMNS.values()]
        rows.append(f"| {kl_coefficient:g} | {name} | " + " | ".join(cells) + " | |")
    pairs = list(zip(found["TRL"], found["ours"], strict=True))
    ratios = median_and_range([theirs.cpu_ms / own.cpu_ms for theirs, own in pairs], digits=2)
    return [rows[0], rows[1].removesuffix(" |") + f" {ratios} |"]


def page(found: dict[float, dict[str, list[Turn]]], work: Work) -> str:
    """The result as Markdown."""
    return "\n".join(
        [
            "# An RL step: ours and TRL's",
            "",
            f"{made_by('trl', 'transformers', 'torch')} RL of {name_of(work.model)}, seed 0: {work.turns} turns of "
            f"{work.steps} steps, after {work.warm_up} that warm up; {work.prompts} prompts × {work.group_size} "
            f"responses of at most {work.max_tokens} tokens; threads: {work.threads}. The script says what is "
            "measured.",
            "",
            f"| KL coefficient | | {' | '.join(COLUMNS)} | CPU time: TRL's step / ours |",
            "| ---: | --- |" + " ---: |" * (len(COLUMNS) + 1),
            *(line for coefficient, sides in found.items() for line in lines_of(coefficient, sides)),
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--steps", type=int, help="steps of a turn: 20, of a model 1")
    parser.add_argument("--prompts", type=int, help="prompts of a step, each with 8 responses: 16")
    parser.add_argument("--kl-coefficients", type=float, nargs="+", default=[0.0, 0.01])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rows-at-once", type=int, help="responses in a micro-batch of TRL's: 128, of a model 8")
    add_model(parser)
    parser.add_argument("--out", type=Path, help="the page to write; without it, it is printed")
    arguments = parser.parse_args()
    check_model(parser, arguments.model, arguments.problems)
    work = replace(EMBEDDED, threads=arguments.threads)
    if arguments.model is not None:
        model, problems = str(arguments.model.resolve()), str(arguments.problems.resolve())
        work = replace(OF_A_MODEL, threads=arguments.threads, model=model, problems=problems)
    own = {name: getattr(arguments, name) for name in ("turns", "steps", "prompts", "rows_at_once")}
    work = replace(work, **{name: value for name, value in own.items() if value is not None})
    work = replace(work, rows_at_once=min(work.rows_at_once, work.rows))
    if work.rows % work.rows_at_once:
        parser.error(f"a step has {work.rows} responses, which --rows-at-once {work.rows_at_once} does not divide")
    found = {}
    for coefficient in arguments.kl_coefficients:
        found[coefficient] = take_turns(replace(work, kl_coefficient=coefficient))
    deliver(page(found, work), arguments.out)


if __name__ == "__main__":
    main()
