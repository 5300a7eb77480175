"""How likely a model finds rollouts that came without log-probs, or with those of another policy."""

from collections.abc import Sequence

import numpy as np

from unsqueeze.errors import UserError
from unsqueeze.interop.demonstrations import Encoding
from unsqueeze.interop.sample_files import Record
from unsqueeze.policy.batch import Row
from unsqueeze.policy.policy import Policy


class PresentLikelihood:
    """Scores rollouts under a policy: in the tokens that an IRL phase would train, at temperature 1, in fp32.

    Rollouts that cannot be learned from, such as those beyond the model's context, have none; ``refused`` counts them
    and keeps the first reason.
    """

    def __init__(self, policy: Policy, *, max_tokens: int) -> None:
        self._policy = policy
        self._max_tokens = max_tokens
        self._encoding = Encoding(policy.tokenizer, context=policy.context, vocabulary=policy.vocabulary)
        self.num_refused = 0
        self.first_refusal: str | None = None

    def __call__(self, records: Sequence[Record]) -> list[tuple[float, int] | None]:
        rows = [self._row(record) for record in records]
        known = [row for row in rows if row is not None]
        logp = iter(self._policy.logp(known, max_tokens=self._max_tokens, in_fp32=True) if known else [])
        return [None if row is None else _mean(next(logp)) for row in rows]

    def _row(self, record: Record) -> Row | None:
        try:
            one, _ = self._encoding.of(record)
        except UserError as error:
            self.num_refused += 1
            self.first_refusal = self.first_refusal or str(error)
            return None
        return Row(prompt_tokens=one.prompt_tokens, tokens=one.tokens, weight=0.0)


def _mean(logp_T: np.ndarray) -> tuple[float, int]:
    return float(np.mean(logp_T, dtype=np.float64)), len(logp_T)
