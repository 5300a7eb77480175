"""A key-value cache layer with room to grow.

``DynamicLayer`` of transformers makes new tensors for the whole past at every step. Here the past lies in a buffer with
free columns at its end, and a step writes one column; the buffer is copied only when it is full.
"""

from typing import Any

from torch import Tensor
from transformers.cache_utils import DynamicLayer


class BufferedLayer(DynamicLayer):
    """The rows ``index_N`` of ``source``, which will grow by ``max_steps`` tokens at most.

    ``keys`` and ``values`` are views of the filled part of their buffers, so everything ``DynamicLayer`` says of itself
    (lengths, masks) holds. The next ``update`` writes behind them: they are not to be kept across steps.
    """

    def __init__(self, source: DynamicLayer, index_N: Tensor, max_steps: int) -> None:
        super().__init__()
        assert source.keys is not None
        assert source.values is not None
        self.lazy_initialization(source.keys, source.values)
        length = source.keys.shape[-2]
        self._longest = length + max_steps
        self._keys_buffer = self._with_room(source.keys.index_select(0, index_N))
        self._values_buffer = self._with_room(source.values.index_select(0, index_N))
        self._show(length)

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        assert end <= self._longest
        if end > self._keys_buffer.shape[-2]:
            self._keys_buffer = self._with_room(self._keys_buffer)
            self._values_buffer = self._with_room(self._values_buffer)
        self._keys_buffer[:, :, start:end] = key_states
        self._values_buffer[:, :, start:end] = value_states
        return self._show(end)

    def reorder_cache(self, beam_idx: Tensor) -> None:
        length = self.get_seq_length()
        self._keys_buffer = self._keys_buffer.index_select(0, beam_idx)
        self._values_buffer = self._values_buffer.index_select(0, beam_idx)
        self._show(length)

    def _show(self, length: int) -> tuple[Tensor, Tensor]:
        self.keys = self._keys_buffer[:, :, :length]
        self.values = self._values_buffer[:, :, :length]
        return self.keys, self.values

    def _with_room(self, past: Tensor) -> Tensor:
        """A buffer that starts with ``past`` and has room for the steps to come, at most half of ``past``, or 32.

        Not all the steps at once: unused columns keep the rows apart in memory, which slows attention, and most rows
        end early.
        """
        rows, heads, length, width = past.shape
        buffer = past.new_empty((rows, heads, min(self._longest, length + max(32, length // 2)), width))
        buffer[:, :, :length] = past
        return buffer
