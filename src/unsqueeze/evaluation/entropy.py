"""The entropy of a model's next token over answers it gave."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from unsqueeze.policy.batch import Row
from unsqueeze.policy.policy import Policy

_SCORED_TOKENS = 16_384


def mean_entropy(
    policy: Policy,
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[str]],
    ended: Sequence[Sequence[bool]],
) -> float:
    """Return the mean over all tokens of the answers of the entropy of the distribution at temperature 1, nats.

    ``answers`` are the texts for each prompt, taken in the tokens that the tokenizer gives them, which need not be
    those that were drawn; one that the model ended (``ended``) has the end token too. NaN without any.
    """
    tokenizer: Any = policy.tokenizer
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    rows = [
        Row(
            prompt_tokens=np.asarray(prompt, dtype=np.int32),
            tokens=np.asarray(
                tokenizer(text, add_special_tokens=False)["input_ids"] + (end if whole else []), dtype=np.int32
            ),
            weight=0.0,
        )
        for prompt, texts, flags in zip(prompts, answers, ended, strict=True)
        for text, whole in zip(texts, flags, strict=True)
    ]
    rows = [row for row in rows if row.tokens.size]
    total, count = 0.0, 0
    with torch.no_grad():
        for indices in policy.microbatches(rows, max_tokens=_SCORED_TOKENS):
            batch = policy.collate([rows[i] for i in indices])
            _, entropy_NT = policy.logprobs(batch, with_entropy=True)
            total += float(entropy_NT.sum(dtype=torch.float64))
            count += int(batch.mask_NT.sum())
    return total / count if count else float("nan")
