"""The decoding of one batch: draw, see who has ended, let them leave, read the drawn tokens, again.

Rows that ended stay in the batch until they are an eighth of it. Letting them leave copies the cache of the others
once, about the cost of a step over them, and every later step is that much cheaper.

Axes: N rows, T tokens, E end tokens.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from unsqueeze.rollout.completions import Ended
from unsqueeze.rollout.rows import Rows
from unsqueeze.rollout.sampling import sample_tokens
from unsqueeze.rollout.stops import StopStrings
from unsqueeze.rollout.types import Sampling, StopReason

_LEAVING_SHARE = 1 / 8

# Why a row ended, as numbers for tensors; 0 while it runs.
_RUNNING = 0
_REASONS = {1: StopReason.EOS, 2: StopReason.STOP, 3: StopReason.LENGTH}
_CODES = {reason: code for code, reason in _REASONS.items()}


class Drawn:
    """Tokens that the rows of a batch drew, filled step by step. Columns past a row's length hold leftovers.

    With ``one_logp`` the log-probs at the sampling temperature are those at temperature 1, and one array is kept.
    """

    def __init__(self, num_rows: int, num_tokens: int, device: torch.device, *, one_logp: bool) -> None:
        self.tokens_NT = torch.zeros((num_rows, num_tokens), dtype=torch.long, device=device)
        self.logp_raw_NT = torch.zeros((num_rows, num_tokens), device=device)
        self.logp_behaviour_NT = self.logp_raw_NT if one_logp else torch.zeros_like(self.logp_raw_NT)
        self.length_N = torch.zeros(num_rows, dtype=torch.long, device=device)
        self.reason_N = torch.zeros(num_rows, dtype=torch.long, device=device)

    def ended(self) -> list[Ended]:
        """The rows in their order, cut to their lengths; the arrays are copies."""
        tokens_NT = self.tokens_NT.to("cpu", torch.int32).numpy()
        logp_raw_NT = self.logp_raw_NT.cpu().numpy()
        logp_behaviour_NT = self.logp_behaviour_NT.cpu().numpy()
        one_logp = self.logp_behaviour_NT is self.logp_raw_NT
        ended = []
        for row, (length, code) in enumerate(zip(self.length_N.tolist(), self.reason_N.tolist(), strict=True)):
            logp_raw = logp_raw_NT[row, :length].copy()
            ended.append(
                Ended(
                    tokens=tokens_NT[row, :length].copy(),
                    logp_raw=logp_raw,
                    logp_behaviour=logp_raw if one_logp else logp_behaviour_NT[row, :length].copy(),
                    reason=_REASONS[code],
                )
            )
        return ended


def decode(
    rows: Rows,
    noise_NT: Tensor,
    sampling: Sampling,
    *,
    end_ids: Sequence[int],
    stops: StopStrings,
    on_finished: Callable[[int], None] | None,
) -> Drawn:
    """Draws until every row has ended. ``noise_NT`` holds the uniform number that decides each draw."""
    device = rows.logits_NV.device
    noise_NT = noise_NT.to(device)
    end_E = torch.tensor(end_ids, dtype=torch.long, device=device)
    num_rows, num_tokens = noise_NT.shape
    drawn = Drawn(num_rows, num_tokens, device, one_logp=sampling.temperature in (0, 1))
    place_N = torch.arange(num_rows, device=device)  # where in ``drawn`` each row of the batch belongs
    waiting_N = torch.zeros_like(place_N, dtype=torch.bool)  # ended, and still in the batch
    for step in range(num_tokens):
        may_end = step + 1 >= sampling.min_tokens
        tokens_N, logp_raw_N, logp_behaviour_N = sample_tokens(
            rows.logits_NV,
            noise_NT[place_N, step],
            temperature=sampling.temperature,
            top_k=sampling.top_k,
            top_p=sampling.top_p,
            banned=None if may_end else end_E,
        )
        drawn.tokens_NT[place_N, step] = tokens_N
        drawn.logp_raw_NT[place_N, step] = logp_raw_N
        drawn.logp_behaviour_NT[place_N, step] = logp_behaviour_N

        reason_N = torch.full_like(tokens_N, _RUNNING)
        if step + 1 == num_tokens:
            reason_N[:] = _CODES[StopReason.LENGTH]
        if may_end:
            if sampling.stop:
                running = (~waiting_N).nonzero().squeeze(-1)
                met = stops.met(drawn.tokens_NT[place_N[running], : step + 1]).to(device)
                reason_N[running[met]] = _CODES[StopReason.STOP]
            reason_N[(tokens_N.unsqueeze(-1) == end_E).any(-1)] = _CODES[StopReason.EOS]

        ending_N = (reason_N != _RUNNING) & ~waiting_N
        num_ending = int(ending_N.sum())
        if num_ending:
            drawn.length_N[place_N[ending_N]] = step + 1
            drawn.reason_N[place_N[ending_N]] = reason_N[ending_N]
            waiting_N |= ending_N
            if on_finished is not None:
                on_finished(num_ending)
            num_waiting = int(waiting_N.sum())
            if num_waiting == len(waiting_N):
                break
            if num_waiting >= len(waiting_N) * _LEAVING_SHARE:
                staying = (~waiting_N).nonzero().squeeze(-1)
                rows.keep(staying)
                tokens_N, place_N, waiting_N = tokens_N[staying], place_N[staying], waiting_N[staying]
        rows.step(tokens_N)
    return drawn
