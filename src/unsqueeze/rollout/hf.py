"""The embedded engine: samples from the training weights themselves, through any Hugging Face causal LM.

How a call runs:

1. Prompts wait in a queue, shortest first (``queue``). Those that fit ``max_rows`` rows are read once each, together;
   the cache is then repeated for the n rollouts of each prompt. Where one prompt alone has more rollouts than there is
   room for, they begin in slices, from that one reading.
2. Every step draws one token a row; rows that ended leave the batch in groups (``decode``).
3. A step of a plain decoder is computed without the code of transformers (``plain_decoder``); the model is asked once
   whether that gives its numbers. The room of rows that left is then filled with the next of the queue while the others
   go on. Of other models the next begin when all have ended.

The draws of a prompt depend on its seed alone (see ``sampling``), so ``max_rows`` bounds
memory without changing the result, up to the rounding of matrix products of another shape.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from unsqueeze.device_errors import device_errors
from unsqueeze.errors import UserError
from unsqueeze.policy.context import context_length
from unsqueeze.rollout.attention import shared_heads
from unsqueeze.rollout.completions import check_request, completions_of
from unsqueeze.rollout.decode import decode
from unsqueeze.rollout.plain_decoder import PlainDecoder
from unsqueeze.rollout.plain_rows import steps_as_the_model
from unsqueeze.rollout.queue import Queue
from unsqueeze.rollout.rows import Network
from unsqueeze.rollout.stops import StopStrings, end_token_ids
from unsqueeze.rollout.types import Completion, Sampling

_LESS_MEMORY = "Lower rollout.max_rows (max_rows of a model that is evaluated); a run may be resumed with another one."


class HfEngine:
    """Implements ``Engine`` on ``model`` itself: no copy of the weights, so ``sync`` has nothing to do.

    ``max_rows`` bounds the rows decoded at once. ``autocast_dtype`` (for example ``torch.bfloat16``, on CUDA) computes
    the forward passes in that type; a copy of the weights in it lives for the length of a call. Log-probs are always
    float32. ``gathered`` is entered for a call, where the weights are in pieces at other times. The model runs in
    evaluation mode without gradients, and every module gets its mode back.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        *,
        max_rows: int = 256,
        autocast_dtype: torch.dtype | None = None,
        gathered: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        if max_rows < 1:
            raise UserError(f"hf engine: max_rows is {max_rows}; it must be at least 1.")
        config: Any = getattr(model, "config", None)
        if getattr(config, "is_encoder_decoder", False):
            raise UserError(
                f"hf engine: {type(model).__name__} is an encoder-decoder model; give a causal language model."
            )
        self._model = model
        self._config = config
        self._tokenizer = tokenizer
        self._max_rows = max_rows
        self._autocast_dtype = autocast_dtype
        self._gathered = gathered
        self._network = Network(model)
        self._is_plain: bool | None = None
        self._end_ids = end_token_ids(model, tokenizer)
        self.policy_version: int | None = None

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        n: int,
        sampling: Sampling,
        *,
        seeds: Sequence[int],
        on_finished: Callable[[int], None] | None = None,
        on_ended: Callable[[Sequence[tuple[int, Completion]]], None] | None = None,
    ) -> list[list[Completion]]:
        """``n`` completions a prompt, in the order of ``prompts``. See ``Engine`` and the head of this module.

        ``min_tokens`` bars end tokens and stop strings until that many tokens are drawn. The text of a completion that
        met a stop string ends before it; its tokens keep it.
        """
        context = context_length(self._model)
        check_request(prompts, n, sampling, vocabulary=self._network.vocabulary, context=context, engine="hf")
        stops = StopStrings(self._tokenizer, sampling.stop)
        completions: list[Completion | None] = [None] * (len(prompts) * n)
        with self._inference(max(map(len, prompts), default=0) + sampling.max_tokens):
            queue = Queue(
                self._network, prompts, n, seeds=seeds, num_tokens=sampling.max_tokens, max_rows=self._max_rows
            )
            for numbers, ended in decode(
                queue,
                sampling,
                max_rows=self._max_rows,
                device=self._network.device,
                end_ids=(*self._end_ids, *sampling.end_ids),
                stops=stops,
                on_finished=on_finished,
            ):
                texts = completions_of(ended, self._tokenizer, stops, engine="hf")
                for number, completion in zip(numbers, texts, strict=True):
                    completions[number] = completion
                if on_ended is not None and numbers:
                    on_ended(list(zip(numbers, texts, strict=True)))
        drawn = [completion for completion in completions if completion is not None]
        assert len(drawn) == len(completions), "every row ends"
        return [drawn[first : first + n] for first in range(0, len(drawn), n)]

    def sync(self, policy: Any) -> None:
        """Do nothing: the engine holds the training weights themselves."""

    def rest(self) -> None:
        """Give nothing back: there is no copy."""

    def close(self) -> None:
        """Release nothing: the model belongs to the caller."""

    @contextmanager
    def _inference(self, longest: int) -> Iterator[None]:
        """The model without gradients, for sequences of up to ``longest`` tokens."""
        modes = [(module, module.training) for module in self._model.modules()]
        self._model.eval()
        try:
            with (
                device_errors(f"generating {self._max_rows} responses side by side", _LESS_MEMORY),
                self._gathered(),
                torch.no_grad(),
                shared_heads(),
                self._written_out(longest),
                self._autocast(),
            ):
                yield
        finally:
            for module, training in modes:
                module.training = training

    @contextmanager
    def _written_out(self, longest: int) -> Iterator[None]:
        """The step of a plain decoder stands ready."""
        if self._is_plain is None:
            self._is_plain = steps_as_the_model(self._model)
        if self._is_plain:
            self._network.decoder = PlainDecoder(self._model, longest, self._autocast_dtype)
        try:
            yield
        finally:
            self._network.decoder = None

    @contextmanager
    def _autocast(self) -> Iterator[None]:
        """Forward passes of the model in the engine's own type."""
        if self._autocast_dtype is None:
            yield
            return
        # The decoder has cast the weights for itself: what the prompts need of them is not to be kept beside.
        keeps = self._network.decoder is None
        try:
            with torch.autocast(self._network.device.type, dtype=self._autocast_dtype, cache_enabled=keeps):
                yield
        finally:
            # Weights cast here carry no gradient; an enclosing autocast must not find them.
            torch.clear_autocast_cache()
