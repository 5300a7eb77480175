"""The log-prob of greedy answers: how peaked a model is (Table 6)."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from unsqueeze.rollout.types import Sampler, Sampling
from unsqueeze.seeds import prompt_seeds


def greedy_logp(
    engine: Sampler,
    prompts: Sequence[Any],
    sampling: Sampling,
    *,
    on_finished: Callable[[int], None] | None = None,
) -> float:
    """Return the mean log-prob of the greedy answers: over an answer's tokens, then over prompts; nats per token.

    Answers end as those of ``sampling`` do. NaN where a server gives no log-probs. ``on_finished`` may raise, to stop.
    """
    groups = engine.generate(
        prompts,
        1,
        replace(sampling, temperature=0.0, top_p=1.0, top_k=0),
        seeds=prompt_seeds(0, len(prompts)),
        on_finished=on_finished,
    )
    means = [completions[0].mean_logp for completions in groups]
    return float(np.mean([math.nan if mean is None else mean for mean in means]))
