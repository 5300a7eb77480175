"""Countdown with the embedded model, as TRL's trainers take them."""

from collections.abc import Sequence
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer

from unsqueeze.models import embedded_model_path
from unsqueeze.tasks.problem import Problem
from unsqueeze.verify.countdown import CountdownVerifier


def countdown_parts(problems: Sequence[Problem]) -> dict[str, Any]:
    """The arguments of a trainer that make the task: the model in fp32, its tokenizer, our judge and the prompts."""
    by_prompt = {problem.prompt: problem for problem in problems}
    verifier = CountdownVerifier()

    def accuracy(prompts: list[str], completions: list[str], **_: Any) -> list[float | None]:
        judgements = verifier.verify([by_prompt[prompt] for prompt in prompts], completions)
        return [float(judgement.verdict == "correct") for judgement in judgements]

    tokenizer = AutoTokenizer.from_pretrained(embedded_model_path())
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return {
        "model": AutoModelForCausalLM.from_pretrained(embedded_model_path(), dtype=torch.float32),
        "processing_class": tokenizer,
        "reward_funcs": accuracy,
        "train_dataset": Dataset.from_list([{"prompt": problem.prompt} for problem in problems]),
    }
