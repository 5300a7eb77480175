"""Our engine against ``generate`` of transformers, on the same model, prompts, rows and threads.

    python benchmarks/engine.py --out docs/results/engine-cpu.md      # the embedded Countdown model
    python benchmarks/engine.py --checkpoint models/smollm2-135m --prompts 4 --tokens 32

Both engines take turns (A B A B ...) in one process, and times are CPU time, which other work on the machine lengthens
less than time by the clock; a cell is the median of the turns, smallest and largest. Two settings are timed:

- ``fixed``: every completion has the same number of tokens (minimum = maximum), so both do the same work. ``generate``
  gets the prompts as transformers batches them: padded on the left, ``num_return_sequences`` rollouts each.
- ``free``: completions end where the model ends them. The draws differ, so tokens kept a second are what is compared.

Ours returns the log-prob of every token with it; ``generate`` is not asked for them, which only helps it.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from pages import deliver, made_by, median_and_range
from unsqueeze.errors import UserError
from unsqueeze.models import embedded_model_path
from unsqueeze.rollout.hf import HfEngine
from unsqueeze.rollout.types import Sampling
from unsqueeze.seeds import prompt_seeds
from unsqueeze.tasks.countdown import countdown_problems

QUESTIONS = (
    "A shop sells pens at 3 dollars and notebooks at 5 dollars. Ann buys 4 pens and 2 notebooks. What does she pay?",
    "What is the sum of the first 20 odd numbers?",
    "A train leaves at 9:40 and arrives at 13:05 after two stops of 10 minutes each. The route is 180 km long. What is "
    "its average speed in kilometres per hour, not counting the stops? Round to one decimal.",
    "How many positive divisors has 360?",
    "Three friends share 84 marbles. Ben has twice as many as Carla, and Dora has 4 more than Carla. How many has Ben?",
    "Solve 3x + 7 = 52 for x.",
    "A tank holds 240 litres. One pump fills it in 6 hours, another in 4 hours. Both run for 90 minutes. How many "
    "litres are still missing?",
    "A rectangle is 3 cm longer than wide and its perimeter is 54 cm. What is its area?",
)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What both engines are asked for."""

    name: str
    prompts: list[list[int]]
    rollouts: int
    max_tokens: int
    fixed: bool

    @property
    def min_tokens(self) -> int:
        return self.max_tokens if self.fixed else 0


def our_tokens(engine: HfEngine, setting: Setting, seed: int) -> int:
    """Generates with our engine; the number of tokens kept."""
    sampling = Sampling(max_tokens=setting.max_tokens, min_tokens=setting.min_tokens)
    groups = engine.generate(
        setting.prompts, setting.rollouts, sampling, seeds=prompt_seeds(seed, len(setting.prompts))
    )
    return sum(len(completion.tokens) for group in groups for completion in group)


def their_tokens(model: Any, tokenizer: Any, setting: Setting, seed: int) -> int:
    """Generates with transformers; the number of tokens kept, each row up to its first end token."""
    torch.manual_seed(seed)
    batch = tokenizer.pad({"input_ids": setting.prompts}, padding_side="left", return_tensors="pt")
    with torch.no_grad():
        rows = model.generate(
            **batch.to(model.device),
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            num_return_sequences=setting.rollouts,
            max_new_tokens=setting.max_tokens,
            min_new_tokens=setting.min_tokens or None,
        )
    new_NT = rows[:, batch["input_ids"].shape[1] :]
    ended_NT = new_NT == tokenizer.eos_token_id
    kept_NT = ended_NT.cumsum(-1) - ended_NT.long() == 0
    return int(kept_NT.sum())


def timed(generate: Callable[[int], int], seed: int) -> tuple[float, int]:
    begun = time.process_time()
    num_tokens = generate(seed)
    return time.process_time() - begun, num_tokens


def compare(model: Any, tokenizer: Any, setting: Setting, repeats: int) -> str:
    """One line of the table."""
    engine = HfEngine(model, tokenizer, max_rows=len(setting.prompts) * setting.rollouts)

    def ours(seed: int) -> int:
        return our_tokens(engine, setting, seed)

    def theirs(seed: int) -> int:
        return their_tokens(model, tokenizer, setting, seed)

    ours(0), theirs(0)  # warm
    turns = [(timed(ours, seed), timed(theirs, seed)) for seed in range(1, repeats + 1)]
    our_rates = [tokens / seconds for (seconds, tokens), _ in turns]
    their_rates = [tokens / seconds for _, (seconds, tokens) in turns]
    ratios = [a / b for a, b in zip(our_rates, their_rates, strict=True)]
    lengths = sorted(len(prompt) for prompt in setting.prompts)
    cells = [
        setting.name,
        "fixed" if setting.fixed else "free",
        f"{len(setting.prompts)} × {setting.rollouts}",
        f"{lengths[0]}–{lengths[-1]}",
        str(setting.max_tokens),
        f"{sum(tokens for (_, tokens), _ in turns):,}",
        f"{sum(tokens for _, (_, tokens) in turns):,}",
        median_and_range(our_rates),
        median_and_range(their_rates),
        median_and_range(ratios, 2),
    ]
    return f"| {' | '.join(cells)} |"


def load(folder: Path) -> tuple[Any, Any]:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return model, AutoTokenizer.from_pretrained(folder)


def countdown_settings(tokenizer: Any, arguments: argparse.Namespace) -> list[Setting]:
    problems, _ = countdown_problems(arguments.prompts, 0, seed=0)
    prompts = [tokenizer(problem.prompt)["input_ids"] for problem in problems]
    return [
        Setting(name="embedded 0.4M", prompts=prompts, rollouts=arguments.rollouts, max_tokens=18, fixed=fixed)
        for fixed in (True, False)
    ]


def checkpoint_settings(tokenizer: Any, folder: Path, arguments: argparse.Namespace) -> list[Setting]:
    def as_prompt(question: str) -> list[int]:
        if tokenizer.chat_template is None:
            return list(tokenizer(question)["input_ids"])
        turn = [{"role": "user", "content": question}]
        return list(tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_dict=False))

    prompts = [as_prompt(QUESTIONS[i % len(QUESTIONS)]) for i in range(arguments.prompts)]
    return [
        Setting(
            name=folder.name, prompts=prompts, rollouts=arguments.rollouts, max_tokens=arguments.tokens, fixed=fixed
        )
        for fixed in (True, False)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, help="a Hugging Face checkpoint; without it, the embedded model")
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--rollouts", type=int, default=8, help="completions a prompt")
    parser.add_argument("--tokens", type=int, default=64, help="most tokens a completion (with --checkpoint)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, help="the page to write; without it, it is printed")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.checkpoint is None:
        model, tokenizer = load(embedded_model_path())
        settings = countdown_settings(tokenizer, arguments)
    elif not arguments.checkpoint.is_dir():
        raise UserError(f"{arguments.checkpoint} is not a folder; scripts/smollm2_checkpoint.py makes one.")
    else:
        model, tokenizer = load(arguments.checkpoint)
        settings = checkpoint_settings(tokenizer, arguments.checkpoint, arguments)
    page = "\n".join(
        [
            "# Rollouts: the hf engine and `generate`",
            "",
            f"{made_by('torch', 'transformers')} {arguments.repeats} turns each, {arguments.threads} thread(s), fp32. "
            "Tokens a second are of CPU time: median [smallest, largest].",
            "",
            "| model | lengths | prompts × rollouts | tokens of a prompt | most tokens | ours, tokens "
            "| generate, tokens | ours, tokens/s | generate, tokens/s | times, taken in turn |",
            "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
            *(compare(model, tokenizer, setting, arguments.repeats) for setting in settings),
            "",
        ]
    )
    deliver(page, arguments.out)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
