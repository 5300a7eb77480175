"""Work of engines before and after the sampling itself: prompts checked, tokens turned into completions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unsqueeze.errors import RunError, UserError
from unsqueeze.rollout.stops import StopStrings
from unsqueeze.rollout.types import Completion, Sampling, StopReason


@dataclass(frozen=True, slots=True, eq=False)
class Ended:
    """One response as it was drawn, on the CPU, before its text is known."""

    tokens: NDArray[np.int32]
    logp_raw: NDArray[np.float32]
    logp_behaviour: NDArray[np.float32]
    reason: StopReason


def completions_of(ended: Sequence[Ended], tokenizer: Any, stops: StopStrings, *, engine: str) -> list[Completion]:
    """The responses with their texts, decoded all at once; without the end token, and up to a stop string.

    RunError if a log-prob is not finite: the weights have diverged.
    """
    shown = [e.tokens[:-1] if e.reason is StopReason.EOS else e.tokens for e in ended]
    texts = tokenizer.batch_decode([tokens.tolist() for tokens in shown], skip_special_tokens=True) if shown else []
    for each in ended:
        if not np.isfinite(each.logp_raw).all():
            raise RunError(
                f"{engine} engine: the model's logits are not finite after "
                f"{int(np.isfinite(each.logp_raw).argmin())} tokens; its weights have probably diverged: "
                "lower the learning rate, or start from an earlier checkpoint."
            )
    return [
        Completion(
            tokens=each.tokens,
            text=stops.cut(text, each.tokens.tolist()) if each.reason is StopReason.STOP else text,
            logp_raw=each.logp_raw,
            logp_behaviour=each.logp_behaviour,
            stop_reason=each.reason,
        )
        for each, text in zip(ended, texts, strict=True)
    ]


def check_request(
    prompts: Sequence[Sequence[int]], n: int, sampling: Sampling, *, vocabulary: int, context: int | None, engine: str
) -> None:
    """UserError if there is nothing to sample, a prompt is empty or of another model, or responses do not fit."""
    if n < 1:
        raise UserError(f"{engine} engine: n is {n}; ask for at least 1 completion a prompt.")
    for place, prompt in enumerate(prompts):
        if not len(prompt):
            raise UserError(
                f"{engine} engine: prompt {place} has no tokens; give at least one (such as the start token)."
            )
        if not 0 <= min(prompt) <= max(prompt) < vocabulary:
            raise UserError(
                f"{engine} engine: prompt {place} has token ids from {min(prompt)} to {max(prompt)}, and the model "
                f"knows 0 to {vocabulary - 1}; the tokenizer and the model do not belong together."
            )
        if context is not None and 0 < context < len(prompt) + sampling.max_tokens:
            room = context - len(prompt)
            advice = f"lower max_tokens to at most {room}" if room > 0 else "shorten the prompt"
            raise UserError(
                f"{engine} engine: prompt {place} has {len(prompt)} tokens and max_tokens is {sampling.max_tokens}, "
                f"together more than the model's context of {context}; {advice}."
            )
