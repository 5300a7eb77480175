"""What rows of a plain decoder remember: the keys and values of prompts, once a prompt, and of their own tokens.

Rows of one prompt read the same keys, so the prompt's are kept and read once for all of them. A row's own lie in a
buffer with free columns at its end, and a step writes one column. Attention is over both, in one softmax.

The rows of a prompt sit in its *seats*. Every prompt has as many as the one with most rows; as rows leave, some stay
empty.

Axes: N rows, P prompts, S seats of a prompt, K key heads, R query heads that read one key head, D width of a head,
C columns of a prompt, T own tokens.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

_FIRST_ROOM = 32


class Seats:
    """Where the rows of each prompt sit. ``prompt_of_N`` are places among prompts, each of which has a row at least."""

    def __init__(self, prompt_of_N: Tensor) -> None:
        rows_P = prompt_of_N.bincount()
        rows_N = torch.arange(len(prompt_of_N), device=prompt_of_N.device)
        self._num_prompts, self._per_prompt = len(rows_P), int(rows_P.max())
        order_N = prompt_of_N.argsort(stable=True)
        sorted_N = prompt_of_N[order_N]
        first_P = rows_P.cumsum(0) - rows_P
        self._seat_of_N = torch.empty_like(prompt_of_N)
        self._seat_of_N[order_N] = sorted_N * self._per_prompt + rows_N - first_P[sorted_N]
        num_seats = self._num_prompts * self._per_prompt
        self._in_order = num_seats == len(rows_N) and bool((self._seat_of_N == rows_N).all())
        self._row_of_seat = rows_N.new_zeros(num_seats)  # what sits in an empty seat is not looked at
        self._row_of_seat[self._seat_of_N] = rows_N

    def seat(self, values_KNRX: Tensor) -> Tensor:
        """Rows by their prompts, shape [K·P, S·R, X]."""
        heads, _, group, width = values_KNRX.shape
        if not self._in_order:
            values_KNRX = values_KNRX.index_select(1, self._row_of_seat)
        return values_KNRX.reshape(heads * self._num_prompts, self._per_prompt * group, width)

    def unseat(self, seated: Tensor, group: int) -> Tensor:
        """What ``seat`` gave a shape, in the order of the rows again, shape KNRX."""
        values_KNRX = seated.view(-1, self._num_prompts * self._per_prompt, group, seated.shape[-1])
        return values_KNRX if self._in_order else values_KNRX.index_select(1, self._seat_of_N)


class LayerPast:
    """The past of one layer: ``prompt_keys_KPDC`` and ``prompt_values_KPCD``, and room for own tokens of N rows."""

    def __init__(self, prompt_keys_KPDC: Tensor, prompt_values_KPCD: Tensor, num_rows: int, max_steps: int) -> None:
        heads, _, width, _ = prompt_keys_KPDC.shape
        self._prompt_keys_KPDC = prompt_keys_KPDC
        self._prompt_values_KPCD = prompt_values_KPCD
        self._longest = max_steps
        self._columns = 0
        # Not all the steps at once: most rows end early, and unused columns keep the rows apart in memory.
        self._keys_KNTD = prompt_keys_KPDC.new_empty((heads, num_rows, min(max_steps, _FIRST_ROOM), width))
        # The other way round than keys: of the products of a row with its own columns, these are the fastest.
        self._values_KNDT = self._keys_KNTD.new_empty((heads, num_rows, width, self._keys_KNTD.shape[2]))

    @property
    def dtype(self) -> torch.dtype:
        return self._keys_KNTD.dtype

    @property
    def num_columns(self) -> int:
        """Number of own tokens of a row."""
        return self._columns

    @property
    def num_prompt_columns(self) -> int:
        return self._prompt_keys_KPDC.shape[-1]

    @classmethod
    def read(cls, keys_PKCD: Tensor, values_PKCD: Tensor) -> "LayerPast":
        """A row for each prompt of a model's own cache, without room to grow."""
        prompt_keys_KPDC = keys_PKCD.permute(1, 0, 3, 2).contiguous()
        return cls(prompt_keys_KPDC, values_PKCD.transpose(0, 1).contiguous(), len(keys_PKCD), 0)

    def take(self, prompts: Tensor, num_rows: int, max_steps: int) -> "LayerPast":
        """Some of the prompts, with room for rows that have not grown."""
        assert self._columns == 0
        keys = self._prompt_keys_KPDC.index_select(1, prompts)
        return LayerPast(keys, self._prompt_values_KPCD.index_select(1, prompts), num_rows, max_steps)

    def join(self, others: "LayerPast", prompts: Tensor) -> None:
        """Put rows of no more columns, and these of their prompts, behind the own: last columns are last again."""
        if len(prompts):
            keys, values = (
                each.index_select(1, prompts) for each in (others._prompt_keys_KPDC, others._prompt_values_KPCD)
            )
            self._prompt_keys_KPDC = _stacked(self._prompt_keys_KPDC, keys, -1)
            self._prompt_values_KPCD = _stacked(self._prompt_values_KPCD, values, -2)
        # What is before a row's first column is not looked at, but must be finite.
        before, behind = self._columns - others._columns, self._keys_KNTD.shape[2] - self._columns
        keys = pad(others._keys_KNTD[:, :, : others._columns], (0, 0, before, behind))
        values = pad(others._values_KNDT[..., : others._columns], (before, behind))
        self._keys_KNTD = torch.cat([self._keys_KNTD, keys], dim=1)
        self._values_KNDT = torch.cat([self._values_KNDT, values], dim=1)

    def keep(self, index_N: Tensor, prompts: Tensor, first: int) -> None:
        """Drop all rows, and all prompts, but these, and all own columns before ``first``."""
        self._keys_KNTD = self._keys_KNTD.index_select(1, index_N)[:, :, first:]
        self._values_KNDT = self._values_KNDT.index_select(1, index_N)[..., first:]
        self._columns -= first
        if len(prompts) < self._prompt_keys_KPDC.shape[1]:
            self._prompt_keys_KPDC = self._prompt_keys_KPDC.index_select(1, prompts)
            self._prompt_values_KPCD = self._prompt_values_KPCD.index_select(1, prompts)

    def write(self, keys_NKD: Tensor, values_NKD: Tensor) -> None:
        """Remember one more token of every row."""
        column = self._columns
        if column == self._keys_KNTD.shape[2]:
            assert column < self._longest
            room = min(self._longest, column + max(_FIRST_ROOM, column // 2))
            self._keys_KNTD = pad(self._keys_KNTD, (0, 0, 0, room - column))
            self._values_KNDT = pad(self._values_KNDT, (0, room - column))
        self._keys_KNTD[:, :, column] = keys_NKD.transpose(0, 1)
        self._values_KNDT[..., column] = values_NKD.transpose(0, 1)
        self._columns += 1

    def attend(
        self, query_KNRD: Tensor, seats: Seats, bias_P1C: Tensor | None, own_bias_N1T: Tensor | None = None
    ) -> Tensor:
        """softmax(q kᵀ + bias) v over the prompt and the row's own tokens, shape KNRD.

        ``bias_P1C`` is added to the scores of the prompts' columns, and ``own_bias_N1T`` to those of the first own
        columns; None where nothing is to be left out.
        """
        heads, rows, group, width = query_KNRD.shape
        own_keys = self._keys_KNTD[:, :, : self._columns].flatten(0, 1)
        own_values = self._values_KNDT[..., : self._columns].flatten(0, 1)
        prompt_scores = torch.bmm(seats.seat(query_KNRD), self._prompt_keys_KPDC.flatten(0, 1))
        if bias_P1C is not None:
            prompt_scores.unflatten(0, (heads, -1)).add_(bias_P1C)
        own_scores = torch.bmm(query_KNRD.reshape(heads * rows, group, width), own_keys.transpose(1, 2))
        own_scores = own_scores.unflatten(0, (heads, rows))
        if own_bias_N1T is not None:
            own_scores[..., : own_bias_N1T.shape[-1]].add_(own_bias_N1T)
        scores = torch.cat([seats.unseat(prompt_scores, group), own_scores], dim=-1)
        weights = scores.softmax(dim=-1, dtype=torch.float32).to(query_KNRD.dtype)
        of_prompt, of_own = weights.split([prompt_scores.shape[-1], self._columns], dim=-1)
        read_of_prompt = torch.bmm(seats.seat(of_prompt), self._prompt_values_KPCD.flatten(0, 1))
        read_of_own = torch.bmm(own_values, of_own.flatten(0, 1).transpose(1, 2)).transpose(1, 2)
        return seats.unseat(read_of_prompt, group) + read_of_own.unflatten(0, (heads, rows))


def _stacked(first: Tensor, second: Tensor, columns: int) -> Tensor:
    """Prompts below each other, those of fewer columns padded behind them; ``columns`` is the axis, from the end."""
    most = max(first.shape[columns], second.shape[columns])
    behind = [0] * (-2 * columns - 1)
    return torch.cat([pad(each, (*behind, most - each.shape[columns])) for each in (first, second)], dim=1)
