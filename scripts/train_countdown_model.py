"""Trains a Countdown model that ships inside the package, and measures it.

    python scripts/train_countdown_model.py --out src/unsqueeze/models/countdown-0.4m
    python scripts/train_countdown_model.py --numbers 5 --layers 4 --out src/unsqueeze/models/countdown5-0.5m

A small Llama learns by cross-entropy to write random solutions, many per problem, so that its policy is broad: it is
right about one time in three, and solves nearly every problem within 128 samples. That is the base policy which RL then
sharpens, and squeezes.

What it never sees: the test side of the fixed split by problem key (``unsqueeze.tasks.countdown.is_held_out``). Every
solution trained on is drawn from the training side, so no test problem of any seed was ever trained on.

Everything is drawn from ``--seed``. The folder gets config, tokenizer, fp32 weights and ``training.json`` with the
settings, the versions, the seconds and the measured Avg@128 and Pass@k on held-out problems.
"""

import argparse
import json
import math
import platform
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import WordLevel
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from unsqueeze.policy.caches import cache_argument, cache_of
from unsqueeze.tasks.countdown import (
    CountdownDifficulty,
    countdown_problems,
    random_solution,
    render_prompt,
    render_steps,
)
from unsqueeze.tasks.problem import Problem
from unsqueeze.verify.countdown import CountdownVerifier
from unsqueeze.verify.verdict import Verdict

IGNORED = -100


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The vetted setting: the model that ships is what these give."""

    steps: int = 3_500
    batch_size: int = 64
    learning_rate: float = 4e-3
    warmup_steps: int = 100
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    num_layers: int = 3
    width: int = 96
    num_heads: int = 4
    mlp_width: int = 288
    context_tokens: int = 128


def build_tokenizer(difficulty: CountdownDifficulty) -> PreTrainedTokenizerFast:
    """One token a number, operator or mark. Text is put back with the spaces the task writes: ``3 + 4 = 7, 7 * 2``."""
    special = ["<pad>", "<bos>", "<eos>", "<unk>"]
    words = [
        *special,
        "Make",
        "from",
        ".",
        ",",
        "=",
        *difficulty.operators,
        *map(str, range(difficulty.max_result + 1)),
    ]
    tokenizer = Tokenizer(WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    # Of the decoders at hand this one joins words with spaces and leaves out the space before a comma or a full stop.
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def build_model(settings: Settings, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.width,
        intermediate_size=settings.mlp_width,
        num_hidden_layers=settings.num_layers,
        num_attention_heads=settings.num_heads,
        max_position_embeddings=settings.context_tokens,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return LlamaForCausalLM(config)


def batches(
    rng: random.Random, difficulty: CountdownDifficulty, tokenizer: PreTrainedTokenizerFast, size: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless (tokens_NT, labels_NT) of random solutions of training-side problems; the prompt carries no loss."""
    vocabulary = tokenizer.get_vocab()
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    while True:
        rows, labels = [], []
        for _ in range(size):
            numbers, steps = random_solution(rng, difficulty, held_out=False)
            prompt = [bos, *_word_ids(render_prompt(numbers, steps[-1].result), vocabulary)]
            response = [*_word_ids(render_steps(steps), vocabulary), eos]
            rows.append(prompt + response)
            labels.append([IGNORED] * len(prompt) + response)
        yield torch.tensor(rows), torch.tensor(labels)


def _word_ids(text: str, vocabulary: dict[str, int]) -> list[int]:
    """The tokenizer's ids, by a dictionary: ten times as fast as a call of the tokenizer for each short row."""
    return [vocabulary[word] for word in text.replace(",", " ,").replace(".", " .").split()]


def learning_rate_share(step: int, settings: Settings) -> float:
    """Linear warm-up, then a cosine down to zero."""
    if step < settings.warmup_steps:
        return (step + 1) / settings.warmup_steps
    done = (step - settings.warmup_steps) / max(1, settings.steps - settings.warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * done))


def train(
    model: LlamaForCausalLM, data: Iterator[tuple[torch.Tensor, torch.Tensor]], settings: Settings, log_every: int = 200
) -> float:
    """Cross-entropy (nats per response token) on the solutions; returns the mean over the last steps."""
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, betas=(0.9, 0.98), weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate_share(step, settings))
    model.train()
    began = time.perf_counter()
    losses: list[float] = []
    for step in range(1, settings.steps + 1):
        tokens, labels = next(data)
        loss = model(input_ids=tokens, labels=labels, use_cache=False).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if step % log_every == 0 or step == settings.steps:
            left = (time.perf_counter() - began) / step * (settings.steps - step)
            recent = sum(losses[-log_every:]) / len(losses[-log_every:])
            print(f"step {step}/{settings.steps}  loss {recent:.4f} nats/token  {left:.0f} s left", flush=True)
    return sum(losses[-log_every:]) / len(losses[-log_every:])


@torch.inference_mode()
def sample(
    model: LlamaForCausalLM,
    prompt: Sequence[int],
    num_samples: int,
    *,
    temperature: float,
    max_tokens: int,
    generator: torch.Generator,
) -> list[list[int]]:
    """``num_samples`` responses to one prompt, without the end token: one prefill, then the cache, token by token."""
    eos = model.config.eos_token_id
    prefill = model(input_ids=torch.tensor([prompt]), use_cache=True)
    cache = cache_of(prefill)
    cache.batch_repeat_interleave(num_samples)
    logits_NV = prefill.logits[:, -1].expand(num_samples, -1)
    columns: list[torch.Tensor] = []
    ended_N = torch.zeros(num_samples, dtype=torch.bool)
    for _ in range(max_tokens):
        probabilities_NV = torch.softmax(logits_NV / temperature, dim=-1)
        token_N = torch.multinomial(probabilities_NV, 1, generator=generator).squeeze(1)
        columns.append(token_N)
        ended_N |= token_N == eos
        if bool(ended_N.all()):
            break
        taken = {cache_argument(model.forward): cache, "use_cache": True}
        logits_NV = model(input_ids=token_N[:, None], **taken).logits[:, -1]
    rows = torch.stack(columns, dim=1).tolist()
    return [row[: row.index(eos)] if eos in row else row for row in rows]


def measure(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    problems: Sequence[Problem],
    *,
    num_samples: int,
    temperature: float,
    seed: int,
) -> dict[str, float]:
    """Avg@n and unbiased Pass@k, by the real checker, with the share of unparsable responses beside them."""
    model.train(False)
    verifier, generator = CountdownVerifier(), torch.Generator().manual_seed(seed)
    num_correct, num_unparsable = [], 0
    for problem in problems:
        rows = sample(
            model,
            tokenizer(problem.prompt)["input_ids"],
            num_samples,
            temperature=temperature,
            max_tokens=32,
            generator=generator,
        )
        texts = tokenizer.batch_decode(rows, skip_special_tokens=True)
        verdicts = [judgement.verdict for judgement in verifier.verify([problem] * len(texts), texts)]
        num_correct.append(sum(verdict is Verdict.CORRECT for verdict in verdicts))
        num_unparsable += sum(verdict is Verdict.UNPARSABLE for verdict in verdicts)
    total = len(problems) * num_samples
    result = {f"avg@{num_samples}": sum(num_correct) / total, "unparsable": num_unparsable / total}
    for k in (8, 32, 128):
        if k <= num_samples:
            misses = [math.comb(num_samples - c, k) / math.comb(num_samples, k) for c in num_correct]
            result[f"pass@{k}"] = 1 - sum(misses) / len(misses)
    return {name: round(value, 4) for name, value in result.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the folder to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=Settings.steps)
    parser.add_argument("--numbers", type=int, default=CountdownDifficulty().count, help="how many a problem has")
    parser.add_argument("--layers", type=int, default=Settings.num_layers)
    parser.add_argument("--threads", type=int, default=1, help="the batches are so small that more gain little")
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    settings = Settings(steps=arguments.steps, num_layers=arguments.layers)
    difficulty = CountdownDifficulty(count=arguments.numbers)
    tokenizer = build_tokenizer(difficulty)
    model = build_model(settings, tokenizer)
    print(f"{sum(weight.numel() for weight in model.parameters()):,} parameters, {len(tokenizer)} tokens")

    began, cpu_began = time.perf_counter(), time.process_time()
    rng = random.Random(f"countdown-pretraining-{arguments.seed}")
    loss = train(model, batches(rng, difficulty, tokenizer, settings.batch_size), settings)
    train_s, train_cpu_s = time.perf_counter() - began, time.process_time() - cpu_began

    _, problems = countdown_problems(0, 192, seed=arguments.seed, difficulty=difficulty)
    measured = measure(model, tokenizer, problems, num_samples=128, temperature=0.7, seed=arguments.seed)
    print(f"trained in {train_s:.0f} s ({train_cpu_s:.0f} s of CPU)")
    print(f"on {len(problems)} held-out problems at temperature 0.7: {measured}")

    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=1.0,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    model.save_pretrained(arguments.out)
    tokenizer.save_pretrained(arguments.out)
    record = {
        "script": "scripts/train_countdown_model.py",
        "seed": arguments.seed,
        "settings": asdict(settings),
        "difficulty": asdict(difficulty),
        "train_seconds": round(train_s),
        "train_cpu_seconds": round(train_cpu_s),
        "threads": arguments.threads,
        "final_loss_nats_per_token": round(loss, 4),
        "measured": {"num_problems": len(problems), "num_samples": 128, "temperature": 0.7, **measured},
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }
    (arguments.out / "training.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
