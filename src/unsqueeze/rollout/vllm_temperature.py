"""Log-probs at the sampling temperature, from an engine that keeps those at temperature 1.

Let l be the log-prob of a token at temperature 1, z the logits and τ the temperature. Then log softmax(z/τ)[token] is

    l/τ + c,   c = logsumexp(z)/τ − logsumexp(z/τ)

where the log-scale c depends on the step and not on the token, and does not change when a constant is added to z. A
logits processor of vLLM sees z/τ before top-k and top-p cut it, and notes c for each running response.

Imported only where vLLM is.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor
from vllm.v1.sample.logits_processor.builtin import process_dict_updates


class LogScales:
    """c of every step of every running response, known by the seed of its request."""

    def __init__(self) -> None:
        self._steps: list[tuple[list[tuple[int, int]], Tensor]] = []
        self._found: dict[int, dict[int, float]] = {}

    def note(self, places: list[tuple[int, int]], shift_N: Tensor) -> None:
        """One decoding step: (seed, number of tokens so far) of each row, and its c. A repeated place overwrites."""
        self._steps.append((places, shift_N))

    def of(self, seed: int, num_tokens: int) -> NDArray[np.float32]:
        """c of the tokens of a response that has ended, in their order."""
        for places, shift_N in self._steps:
            for (row_seed, place), shift in zip(places, shift_N.tolist(), strict=True):
                self._found.setdefault(row_seed, {})[place] = shift
        self._steps.clear()
        noted = self._found.pop(seed)
        return np.asarray([noted[place] for place in range(num_tokens)], dtype=np.float32)

    def forget(self) -> None:
        self._steps.clear()
        self._found.clear()


def log_scale_recorder() -> tuple[LogScales, type]:
    """A place for the log-scales and the class of logits processor that fills it, for one engine in this process."""
    scales = LogScales()

    class LogScaleRecorder(LogitsProcessor):
        """Changes nothing; notes c of the rows whose temperature is neither 0 nor 1."""

        def __init__(self, vllm_config: Any, device: torch.device, is_pin_memory: bool) -> None:
            self._rows: dict[int, tuple[int, float, list[int]]] = {}

        def is_argmax_invariant(self) -> bool:
            """Also: such processors come after the temperature."""
            return True

        def update_state(self, batch_update: BatchUpdate | None) -> None:
            process_dict_updates(self._rows, batch_update, _row_of)

        def apply(self, logits: Tensor) -> Tensor:
            if self._rows:
                rows = sorted(self._rows)
                index_N = torch.tensor(rows, device=logits.device)
                temperature_N = torch.tensor([self._rows[row][1] for row in rows], device=logits.device)
                shift_N = log_scale(logits.index_select(0, index_N), temperature_N)
                scales.note([(self._rows[row][0], len(self._rows[row][2])) for row in rows], shift_N)
            return logits

    return scales, LogScaleRecorder


def log_scale(scaled_NV: Tensor, temperature_N: Tensor) -> Tensor:
    """c of each row (see the head of this module), from the logits divided by the temperature; nats."""
    unit_NV = scaled_NV.float() * temperature_N[:, None]
    return unit_NV.logsumexp(-1) / temperature_N - scaled_NV.float().logsumexp(-1)


def _row_of(params: Any, _prompt: list[int] | None, output: list[int]) -> tuple[int, float, list[int]] | None:
    """Return what is remembered of a request: seed, temperature and the live list of its tokens; None if c is not
    needed.
    """
    if params.temperature in (0, 1) or params.seed is None:
        return None
    return params.seed, params.temperature, output
