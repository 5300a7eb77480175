"""The decoding of a batch of rows: draw, see who has ended, let them leave, read the drawn tokens, let others begin.

Rows that ended stay in the batch until they are an eighth of it, or all that began first have ended. Letting them leave
copies the cache of the others once, about the cost of a step over them, and every later step is that much cheaper.

As soon as a quarter of the batch is free, rows that wait begin, and are then some steps behind the others. Rows that
cannot be joined (``PlainRows`` can) begin in waves: when all before them have ended.

Axes: N rows, T tokens, E end tokens, W tokens at the end of a row.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from unsqueeze.rollout.completions import Ended
from unsqueeze.rollout.plain_rows import PlainRows
from unsqueeze.rollout.queue import Portion, Queue
from unsqueeze.rollout.rows import Rows
from unsqueeze.rollout.sampling import sample_tokens
from unsqueeze.rollout.stops import StopStrings
from unsqueeze.rollout.types import Sampling, StopReason

_LEAVING_SHARE = 1 / 8
_JOINING_SHARE = 1 / 4

# Why a row ended, as numbers for tensors; 0 while it runs.
_RUNNING = 0
_REASONS = {1: StopReason.EOS, 2: StopReason.STOP, 3: StopReason.LENGTH}
_CODES = {reason: code for code, reason in _REASONS.items()}


class Drawn:
    """Tokens that rows drew, filled step by step, with the numbers that decide their draws: a slot a row.

    A slot is used again once its row has left. Columns past a row's length hold leftovers. With ``one_logp`` the
    log-probs at the sampling temperature are those at temperature 1, and one array is kept.
    """

    def __init__(self, num_slots: int, num_tokens: int, device: torch.device, *, one_logp: bool) -> None:
        shape = (num_slots, num_tokens)
        self.noise_NT = torch.zeros(shape, dtype=torch.float64, device=device)
        self.tokens_NT = torch.zeros(shape, dtype=torch.long, device=device)
        self.logp_raw_NT = torch.zeros(shape, device=device)
        self.logp_behaviour_NT = self.logp_raw_NT if one_logp else torch.zeros_like(self.logp_raw_NT)
        self.length_N = torch.zeros(num_slots, dtype=torch.long, device=device)
        self.reason_N = torch.zeros(num_slots, dtype=torch.long, device=device)
        self._numbers = [-1] * num_slots
        self._free = list(range(num_slots))

    def begin(self, portion: Portion) -> Tensor:
        """Give rows their slots, shape N."""
        slots, self._free = self._free[: len(portion.numbers)], self._free[len(portion.numbers) :]
        for slot, number in zip(slots, portion.numbers, strict=True):
            self._numbers[slot] = number
        slot_N = torch.tensor(slots, device=self.noise_NT.device)
        self.noise_NT[slot_N] = portion.noise_NT.to(self.noise_NT.device)
        return slot_N

    def noise(self, slot_N: Tensor, column_N: Tensor) -> Tensor:
        """The numbers that decide the tokens of these columns, shape N."""
        return self.noise_NT.view(-1).index_select(0, self._cells(slot_N, column_N))

    def write(
        self, slot_N: Tensor, column_N: Tensor, tokens_N: Tensor, logp_raw_N: Tensor, logp_behaviour_N: Tensor
    ) -> None:
        """Enter what was drawn for these columns."""
        cells_N = self._cells(slot_N, column_N)
        self.tokens_NT.view(-1).index_copy_(0, cells_N, tokens_N)
        self.logp_raw_NT.view(-1).index_copy_(0, cells_N, logp_raw_N)
        if self.logp_behaviour_NT is not self.logp_raw_NT:
            self.logp_behaviour_NT.view(-1).index_copy_(0, cells_N, logp_behaviour_N)

    def _cells(self, slot_N: Tensor, column_N: Tensor) -> Tensor:
        """The places of one column of each row in a flattened array: these are found in half the time."""
        return slot_N * self.noise_NT.shape[1] + column_N

    def tails(self, slot_N: Tensor, length_N: Tensor, most: int) -> list[list[int]]:
        """The last tokens of rows of these lengths, ``most`` of each."""
        columns_NW = length_N.unsqueeze(-1) + torch.arange(-most, 0, device=length_N.device)
        tails = self.tokens_NT[slot_N.unsqueeze(-1), columns_NW.clamp(min=0)].tolist()
        return [tail[-length:] for tail, length in zip(tails, length_N.tolist(), strict=True)]

    def leave(self, slot_N: Tensor) -> tuple[list[int], list[Ended]]:
        """Free the slots of rows that ended: their numbers, and what they drew; the arrays are copies."""
        slots = slot_N.tolist()
        self._free += slots
        numbers = [self._numbers[slot] for slot in slots]
        tokens_NT = self.tokens_NT[slot_N].to("cpu", torch.int32).numpy()
        logp_raw_NT = self.logp_raw_NT[slot_N].cpu().numpy()
        logp_behaviour_NT = self.logp_behaviour_NT[slot_N].cpu().numpy()
        one_logp = self.logp_behaviour_NT is self.logp_raw_NT
        lengths, codes = self.length_N[slot_N].tolist(), self.reason_N[slot_N].tolist()
        ended = []
        for row, (length, code) in enumerate(zip(lengths, codes, strict=True)):
            logp_raw = logp_raw_NT[row, :length].copy()
            ended.append(
                Ended(
                    tokens=tokens_NT[row, :length].copy(),
                    logp_raw=logp_raw,
                    logp_behaviour=logp_raw if one_logp else logp_behaviour_NT[row, :length].copy(),
                    reason=_REASONS[code],
                )
            )
        return numbers, ended


class _Batch:
    """The rows that are decoded side by side, at most ``max_rows``, those that began first in front."""

    def __init__(self, drawn: Drawn, max_rows: int, sampling: Sampling, end_ids: Sequence[int]) -> None:
        device = drawn.noise_NT.device
        self._drawn = drawn
        self._max_rows = max_rows
        self._sampling = sampling
        self._end_E = torch.tensor(end_ids, dtype=torch.long, device=device)
        self._rows: Rows | None = None
        self._slot_N = torch.zeros(0, dtype=torch.long, device=device)
        self._length_N = torch.zeros_like(self._slot_N)
        self._tokens_N = torch.zeros_like(self._slot_N)
        self._waiting_N = torch.zeros_like(self._slot_N, dtype=torch.bool)  # ended, and still in the batch

    def __len__(self) -> int:
        return len(self._slot_N)

    def fill(self, queue: Queue) -> None:
        """Let rows begin: where none runs, and where those that run can be joined and enough of the batch is free."""
        while len(queue) and (self._rows is None or self._may_be_joined()):
            portion = queue.take(self._max_rows - len(self))
            if self._rows is None:
                self._rows = portion.rows
            else:
                assert isinstance(self._rows, PlainRows)
                assert isinstance(portion.rows, PlainRows)
                self._rows.join(portion.rows)
            slot_N = self._drawn.begin(portion)
            self._slot_N = torch.cat([self._slot_N, slot_N])
            self._length_N = torch.cat([self._length_N, torch.zeros_like(slot_N)])
            self._waiting_N = torch.cat([self._waiting_N, torch.zeros_like(slot_N, dtype=torch.bool)])

    def draw(self, stops: StopStrings) -> int:
        """Draw a token for every row, and count the rows that end with it."""
        assert self._rows is not None
        barred_N = self._length_N + 1 < self._sampling.min_tokens if self._sampling.min_tokens > 1 else None
        tokens_N, logp_raw_N, logp_behaviour_N = sample_tokens(
            self._rows.logits_NV,
            self._drawn.noise(self._slot_N, self._length_N),
            temperature=self._sampling.temperature,
            top_k=self._sampling.top_k,
            top_p=self._sampling.top_p,
            banned=None if barred_N is None else self._end_E,
            barred_N=barred_N,
        )
        self._drawn.write(self._slot_N, self._length_N, tokens_N, logp_raw_N, logp_behaviour_N)
        self._tokens_N = tokens_N
        self._length_N = self._length_N + 1
        reason_N = self._reasons(stops, barred_N)
        ending_N = (reason_N != _RUNNING) & ~self._waiting_N
        num_ending = int(ending_N.sum())
        if num_ending:
            self._drawn.length_N[self._slot_N[ending_N]] = self._length_N[ending_N]
            self._drawn.reason_N[self._slot_N[ending_N]] = reason_N[ending_N]
            self._waiting_N |= ending_N
        return num_ending

    def leave(self) -> tuple[list[int], list[Ended]]:
        """Let the rows that ended leave, if it is time: their numbers, and what they drew."""
        staying = (~self._waiting_N).nonzero().squeeze(-1)
        if len(staying) > len(self) * (1 - _LEAVING_SHARE) and not self._first_are_over(staying):
            return [], []
        left = self._drawn.leave(self._slot_N[self._waiting_N])
        if not len(staying):
            self._rows = None
        elif self._rows is not None:
            self._rows.keep(staying)
        self._slot_N, self._length_N = self._slot_N[staying], self._length_N[staying]
        self._tokens_N, self._waiting_N = self._tokens_N[staying], self._waiting_N[staying]
        return left

    def step(self) -> None:
        """Read the tokens that were drawn."""
        if self._rows is not None:
            self._rows.step(self._tokens_N)

    def _first_are_over(self, staying: Tensor) -> bool:
        """Tell whether the rows with most tokens have all ended: they would be the first to grow beyond their limit."""
        return int(self._length_N[staying].max()) < int(self._length_N.max())

    def _may_be_joined(self) -> bool:
        num_free = self._max_rows - len(self)
        return isinstance(self._rows, PlainRows) and num_free >= self._max_rows * _JOINING_SHARE

    def _reasons(self, stops: StopStrings, barred_N: Tensor | None) -> Tensor:
        """Why each row ends with the token that it drew, as a number; those of ``barred_N`` do not."""
        reason_N = _CODES[StopReason.LENGTH] * (self._length_N == self._sampling.max_tokens)
        ends_N = (self._tokens_N.unsqueeze(-1) == self._end_E).any(-1)
        if self._sampling.stop:
            met_N = torch.zeros_like(self._waiting_N)
            running = (~self._waiting_N).nonzero().squeeze(-1)
            tails = self._drawn.tails(self._slot_N[running], self._length_N[running], stops.window)
            met_N[running] = stops.met(tails).to(met_N.device)
            reason_N = torch.where(met_N if barred_N is None else met_N & ~barred_N, _CODES[StopReason.STOP], reason_N)
        return torch.where(ends_N if barred_N is None else ends_N & ~barred_N, _CODES[StopReason.EOS], reason_N)


def decode(
    queue: Queue,
    sampling: Sampling,
    *,
    max_rows: int,
    device: torch.device,
    end_ids: Sequence[int],
    stops: StopStrings,
    on_finished: Callable[[int], None] | None,
) -> Iterator[tuple[list[int], list[Ended]]]:
    """Draws until no row waits or runs; gives the numbers of rows, and what they drew, as they leave."""
    num_slots = min(max_rows, len(queue))
    drawn = Drawn(num_slots, sampling.max_tokens, device, one_logp=sampling.temperature in (0, 1))
    batch = _Batch(drawn, max_rows, sampling, end_ids)
    while len(queue) or len(batch):
        batch.fill(queue)
        if num_ending := batch.draw(stops):
            if on_finished is not None:
                on_finished(num_ending)
            yield batch.leave()
        batch.step()
