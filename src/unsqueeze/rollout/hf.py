"""The embedded engine: samples from the training weights themselves, through any Hugging Face causal LM.

How a call runs:

1. Prompts are sorted by length and cut into waves that fit ``max_rows`` rows (``cut_waves``).
2. A wave's prompts are read once each, together; the cache is then repeated for the n rollouts of each prompt. Where
   one prompt alone has more rollouts than ``max_rows``, they are decoded in slices that start from that one reading.
3. Every step draws one token a row; rows that ended leave the batch in groups (``decode``). A step of a plain decoder
   is computed without the code of transformers (``plain_decoder``); the model is asked once whether that gives its
   numbers.

The draws of a prompt depend on its seed alone (see ``sampling``), so ``max_rows`` bounds
memory without changing the result, up to the rounding of matrix products of another shape.

Axes: P prompts, n rollouts a prompt, N rows of a slice, T tokens, V vocabulary.
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
from unsqueeze.rollout.rows import PREFILL_TOKENS, Network, prefill
from unsqueeze.rollout.sampling import token_uniforms
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
    ) -> list[list[Completion]]:
        """``n`` completions a prompt, in the order of ``prompts``. See ``Engine`` and the head of this module.

        ``min_tokens`` bars end tokens and stop strings until that many tokens are drawn. The text of a completion that
        met a stop string ends before it; its tokens keep it.
        """
        context = context_length(self._model)
        check_request(prompts, n, sampling, vocabulary=self._network.vocabulary, context=context, engine="hf")
        lengths = [len(prompt) for prompt in prompts]
        stops = StopStrings(self._tokenizer, sampling.stop)
        completions: list[list[Completion]] = [[] for _ in prompts]
        longest = max(lengths, default=0) + sampling.max_tokens
        with self._inference(longest):
            mix_lengths = self._network.may_mix(longest)
            for wave in cut_waves(lengths, n, self._max_rows, mix_lengths=mix_lengths):
                first = prefill(self._network, [prompts[p] for p in wave])
                noise_NT = torch.cat([token_uniforms(n, sampling.max_tokens, seed=seeds[p]) for p in wave])
                for start in range(0, len(noise_NT), self._max_rows):
                    slice_N = torch.arange(start, min(start + self._max_rows, len(noise_NT)))
                    rows = first.take((slice_N // n).to(self._network.device), max_steps=sampling.max_tokens - 1)
                    drawn = decode(
                        rows,
                        noise_NT[slice_N],
                        sampling,
                        end_ids=(*self._end_ids, *sampling.end_ids),
                        stops=stops,
                        on_finished=on_finished,
                    )
                    ended = completions_of(drawn.ended(), self._tokenizer, stops, engine="hf")
                    for row, completion in zip(slice_N.tolist(), ended, strict=True):
                        completions[wave[row // n]].append(completion)
        return completions

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


def cut_waves(lengths: Sequence[int], n: int, max_rows: int, *, mix_lengths: bool) -> list[list[int]]:
    """Choose the prompts that are read together: lists of places in the call, shortest prompts first, stable among
    equals.

    A wave's rows (prompts times ``n``) stay within ``max_rows`` and its padded tokens within 32,768, or it is one
    prompt alone. Where lengths may not mix, a wave holds prompts of one length.
    """
    waves: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        wave = waves[-1] if waves else []
        fits = (
            wave
            and (len(wave) + 1) * n <= max_rows
            and (len(wave) + 1) * lengths[place] <= PREFILL_TOKENS
            and (mix_lengths or lengths[wave[-1]] == lengths[place])
        )
        if fits:
            wave.append(place)
        else:
            waves.append([place])
    return waves
