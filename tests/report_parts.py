"""Runs that reports of tests are made of: mathematics by a scripted engine, and hostile words in what is stored."""

import itertools
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import unsqueeze as uq
from tiny_models import BYTE_VOCABULARY, byte_tokenizer, tiny_llama
from unsqueeze.config.rollout_settings import RolloutSettings
from unsqueeze.policy.policy import Policy
from unsqueeze.rollout.scripted import Line, ScriptedEngine
from unsqueeze.rollout.types import Engine, Group, Sampling, StopReason
from unsqueeze.store.rollouts import RolloutWriter

UNIFORM = -5.5568  # ln(1/259): what a model of weights near zero gives every byte
LONG = "We add the parts one by one, and check each: $\\frac{1}{2} + \\frac{1}{2} = 1$. "
SAID = [
    "Half and half make one, so $x = \\boxed{\\frac{1}{2}}$.",
    "It is \\boxed{0.5}, which is \\(\\frac{2}{4}\\).",
    "I get \\boxed{3}.",
    LONG * 30 + "So \\boxed{\\dfrac{1}{2}}.",
    "I do not know.",
]


class Said(ScriptedEngine):
    """Says the same few answers again and again."""

    def __init__(self, tokenizer: Any) -> None:
        super().__init__(tokenizer, [])
        self._in_order = self._lines()
        self._reason = StopReason.EOS

    def _lines(self) -> Iterator[str | Line]:
        for text in itertools.cycle(SAID):
            yield Line(text, logp=UNIFORM, stop_reason=self._reason)

    def generate(self, prompts: Sequence[Sequence[int]], n: int, sampling: Sampling, **further: Any) -> Any:
        """Say it; before a run begins it is tried with a few tokens, of which the answers are cut."""
        self._reason = StopReason.LENGTH if sampling.max_tokens < 100 else StopReason.EOS
        return super().generate(prompts, n, sampling, **further)


def engine(settings: RolloutSettings, policy: Policy) -> Engine:
    return Said(policy.tokenizer)


def mathematics(folder: Path) -> Path:
    """A run of two RL steps on problems of mathematics, judged by Math-Verify."""
    model = folder / "model"
    tiny_llama(BYTE_VOCABULARY, context=4096, spread=1e-4).save_pretrained(model)
    byte_tokenizer().save_pretrained(model)
    for name, halves in (("train", (1, 2, 3, 4)), ("test", (5, 6, 7))):
        problems = [
            {"id": f"{name}-{i}", "problem": f"What is $\\frac{{{i}}}{{{2 * i}}}$?", "answer": "\\frac{1}{2}"}
            for i in halves
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(each) + "\n" for each in problems))
    uq.train(
        {
            "name": "mathematics",
            "model": {"path": str(model)},
            "data": {"kind": "jsonl", "train_path": f"{folder}/train.jsonl", "test_path": f"{folder}/test.jsonl"},
            "rollout": {"max_tokens": 3000, "engine": "report_parts:engine"},
            "rl": {"steps": 2, "prompts_per_step": 2, "group_size": 5},
            "evaluation": {"n": 5},
        },
        run=folder / "run",
    )
    return folder / "run"


HOSTILE = [
    "<script>alert(1)</script><img src=x onerror=alert(2)>",
    "</script></pre><!-- ' \" `${alert(3)}` &lt;b&gt; \\u003c",
    "\u202eright to left\u202c \u2066isolated\u2069 \u200b\ufeff",
    "\x1b[31mred\x1b[0m \x07 \x00 \x9b2J",
    "a" * 100_000,
    "\ufffd half of a pair, as it is stored",
    "$\\href{javascript:alert(4)}{x}$ \\boxed{\\text{</span><script>alert(5)</script>}} $\\frac{$",
    "]]> --> {{ 7 * 7 }} {% raw %}",
]


def with_hostile_words(run: Path, copy: Path, words: Sequence[str] = HOSTILE) -> Path:
    """A copy of a run in which the words stand as texts, answers, reasons and problems of the first step."""
    shutil.copytree(run, copy)
    rollouts = RolloutWriter(copy / "rollouts")
    step = rollouts.steps()[0]
    groups = [_hostile(group, words) for group in rollouts.read(step)]
    rollouts.path(step).unlink()
    rollouts.write(step, groups)
    return copy


def _hostile(group: Group, words: Sequence[str]) -> Group:
    problem = replace(group.problem, id=f"{group.problem.id}{words[0]}", prompt=words[1], answer=words[0][:40])
    said = list(itertools.islice(itertools.cycle(words), len(words)))
    rollouts = [
        replace(
            group.rollouts[place % len(group.rollouts)],
            problem_id=problem.id,
            index=place,
            completion=replace(group.rollouts[place % len(group.rollouts)].completion, text=text),
        )
        for place, text in enumerate(said)
    ]
    judgements = [
        replace(group.judgements[place % len(group.judgements)], extracted=text[:200], reason=text[:200])
        for place, text in enumerate(said)
    ]
    return Group(problem=problem, rollouts=tuple(rollouts), judgements=tuple(judgements))
