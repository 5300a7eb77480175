"""The embedded engine: samples from the training weights themselves, through any Hugging Face causal LM.

How a call runs:

1. Prompts are sorted by length and cut into waves that fit ``max_rows`` rows (``plan_waves``).
2. A wave's prompts are read once each, together; the cache is then repeated for the n rollouts of each prompt. Where
   one prompt alone has more rollouts than ``max_rows``, they are decoded in slices that start from that one reading.
3. Every step draws one token a row. Rows that ended leave the batch when at least an eighth of it has ended: dropping
   them copies the cache once, which is what every step costs anyway, and speeds up all later steps.

The draws of a prompt depend on the seed and its place in the call alone (see ``sampling``), so ``max_rows`` bounds
memory without changing the result, up to the rounding of matrix products of another shape.

Axes: P prompts, n rollouts a prompt, N rows of a slice, T tokens, V vocabulary.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unsqueeze.errors import RunError, UserError
from unsqueeze.rollout.rows import Network, Rows, prefill
from unsqueeze.rollout.sampling import sample_tokens, token_uniforms
from unsqueeze.rollout.stops import StopStrings, end_token_ids
from unsqueeze.rollout.types import Completion, Sampling, StopReason
from unsqueeze.seeds import derive_seed

# Prompts read together hold at most this many tokens, padding included: bounds the activations of the prefill.
_PREFILL_TOKENS = 32_768
# Ended rows leave once they are this share of the batch.
_LEAVING_SHARE = 1 / 8

_RUNNING, _EOS, _STOP, _LENGTH = 0, 1, 2, 3
_REASONS = {_EOS: StopReason.EOS, _STOP: StopReason.STOP, _LENGTH: StopReason.LENGTH}


class HfEngine:
    """Implements ``Engine`` on ``model`` itself: no copy of the weights, so ``sync`` has nothing to do.

    ``max_rows`` bounds the rows decoded at once. ``autocast_dtype`` (for example ``torch.bfloat16``, on CUDA) computes
    the forward passes in that type; a copy of the weights in it lives for the length of a call. Log-probs are always
    float32. The model runs in evaluation mode without gradients, and every module gets its mode back.
    """

    def __init__(
        self, model: nn.Module, tokenizer: Any, *, max_rows: int = 256, autocast_dtype: torch.dtype | None = None
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
        self._network = Network(model)
        self._end_ids = end_token_ids(model, tokenizer)

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        n: int,
        sampling: Sampling,
        *,
        seed: int,
        on_finished: Callable[[int], None] | None = None,
    ) -> list[list[Completion]]:
        """``n`` completions a prompt, in the order of ``prompts``. See ``Engine`` and the head of this module.

        ``min_tokens`` bars end tokens and stop strings until that many tokens are drawn. The text of a completion that
        met a stop string ends before it; its tokens keep it.
        """
        if n < 1:
            raise UserError(f"hf engine: n is {n}; ask for at least 1 completion a prompt.")
        self._check(prompts, sampling)
        lengths = [len(prompt) for prompt in prompts]
        completions: list[list[Completion]] = [[] for _ in prompts]
        with self._inference():
            for wave in plan_waves(lengths, n, self._max_rows, mix_lengths=self._network.mixes_lengths):
                first = prefill(self._network, [prompts[p] for p in wave])
                noise_NT = torch.cat(
                    [token_uniforms(n, sampling.max_tokens, seed=derive_seed(seed, "prompt", p)) for p in wave]
                )
                for start in range(0, len(noise_NT), self._max_rows):
                    slice_N = torch.arange(start, min(start + self._max_rows, len(noise_NT)))
                    rows = first.take((slice_N // n).to(self._network.device), max_steps=sampling.max_tokens - 1)
                    drawn = self._decode(rows, noise_NT[slice_N], sampling, on_finished)
                    for row, completion in zip(slice_N.tolist(), self._completions(drawn, sampling), strict=True):
                        completions[wave[row // n]].append(completion)
        return completions

    def sync(self, policy: Any) -> None:
        """Nothing to do: the engine holds the training weights themselves."""

    def close(self) -> None:
        """Nothing to release: the model belongs to the caller."""

    def _decode(
        self, rows: Rows, noise_NT: Tensor, sampling: Sampling, on_finished: Callable[[int], None] | None
    ) -> "_Drawn":
        """Draws until every row has ended. Columns past a row's length hold leftovers of rows that waited to leave."""
        device = rows.logits_NV.device
        noise_NT = noise_NT.to(device)
        end_E = torch.tensor(self._end_ids, device=device)
        stops = StopStrings(self._tokenizer, sampling.stop)
        drawn = _Drawn.empty(noise_NT.shape[0], sampling.max_tokens, device)
        alive = torch.arange(noise_NT.shape[0], device=device)  # the slice's row that each row of the batch is
        waiting = torch.zeros_like(alive, dtype=torch.bool)  # ended, and still in the batch
        for step in range(sampling.max_tokens):
            may_end = step + 1 >= max(sampling.min_tokens, 1)
            tokens, drawn.logp_behaviour_NT[alive, step], drawn.logp_sampling_NT[alive, step] = sample_tokens(
                rows.logits_NV,
                noise_NT[alive, step],
                temperature=sampling.temperature,
                top_k=sampling.top_k,
                top_p=sampling.top_p,
                banned=None if may_end else end_E,
            )
            drawn.tokens_NT[alive, step] = tokens
            reasons = torch.zeros_like(alive)
            if may_end:
                reasons[(tokens.unsqueeze(-1) == end_E).any(-1)] = _EOS
                if sampling.stop:
                    running = (~waiting & (reasons == _RUNNING)).nonzero().squeeze(-1)
                    met = stops.met(drawn.tokens_NT[alive[running], : step + 1])
                    reasons[running[met.to(device)]] = _STOP
            if step + 1 == sampling.max_tokens:
                reasons[reasons == _RUNNING] = _LENGTH
            ended = (reasons != _RUNNING) & ~waiting
            num_ended = int(ended.sum())
            if num_ended:
                drawn.length_N[alive[ended]] = step + 1
                drawn.reason_N[alive[ended]] = reasons[ended]
                waiting |= ended
                if on_finished is not None:
                    on_finished(num_ended)
            num_waiting = int(waiting.sum()) if num_ended else 0
            if num_waiting == len(alive):
                break
            if num_waiting >= len(alive) * _LEAVING_SHARE and num_ended:
                staying = (~waiting).nonzero().squeeze(-1)
                rows.keep(staying)
                tokens, alive, waiting = tokens[staying], alive[staying], waiting[staying]
            rows.step(tokens)
        return drawn

    def _completions(self, drawn: "_Drawn", sampling: Sampling) -> list[Completion]:
        """Cuts the drawn arrays into completions and decodes their text, all at once."""
        tokens_NT = drawn.tokens_NT.to("cpu", torch.int32).numpy()
        logp_behaviour_NT = drawn.logp_behaviour_NT.cpu().numpy()
        logp_sampling_NT = drawn.logp_sampling_NT.cpu().numpy()
        lengths = drawn.length_N.tolist()
        reasons = [_REASONS[code] for code in drawn.reason_N.tolist()]
        shown = [
            tokens_NT[row, : length - (reason is StopReason.EOS)].tolist()
            for row, (length, reason) in enumerate(zip(lengths, reasons, strict=True))
        ]
        texts = self._tokenizer.batch_decode(shown, skip_special_tokens=True)
        stops = StopStrings(self._tokenizer, sampling.stop)
        completions = []
        for row, (length, reason) in enumerate(zip(lengths, reasons, strict=True)):
            logp = logp_behaviour_NT[row, :length].copy()
            if not np.isfinite(logp).all():
                raise RunError(
                    f"hf engine: the model's logits are not finite after {int(np.isfinite(logp).argmin())} tokens; "
                    "its weights have probably diverged: lower the learning rate, or start from an earlier checkpoint."
                )
            completions.append(
                Completion(
                    tokens=tokens_NT[row, :length].copy(),
                    text=stops.cut(texts[row], shown[row]) if reason is StopReason.STOP else texts[row],
                    logp_behaviour=logp,
                    logp_sampling=logp if sampling.temperature in (0, 1) else logp_sampling_NT[row, :length].copy(),
                    stop_reason=reason,
                )
            )
        return completions

    def _check(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> None:
        text_config = self._config.get_text_config(decoder=True)
        context = getattr(text_config, "max_position_embeddings", None)
        vocabulary = self._network.vocabulary
        for place, prompt in enumerate(prompts):
            if not len(prompt):
                raise UserError(
                    f"hf engine: prompt {place} has no tokens; give at least one (such as the start token)."
                )
            if not 0 <= min(prompt) <= max(prompt) < vocabulary:
                raise UserError(
                    f"hf engine: prompt {place} has token ids from {min(prompt)} to {max(prompt)}, and the model knows "
                    f"0 to {vocabulary - 1}; the tokenizer and the model do not belong together."
                )
            if context is not None and 0 < context < len(prompt) + sampling.max_tokens:
                room = context - len(prompt)
                advice = f"lower max_tokens to at most {room}" if room > 0 else "shorten the prompt"
                raise UserError(
                    f"hf engine: prompt {place} has {len(prompt)} tokens and max_tokens is {sampling.max_tokens}, "
                    f"together more than the model's context of {context}; {advice}."
                )

    @contextmanager
    def _inference(self) -> Iterator[None]:
        modes = [(module, module.training) for module in self._model.modules()]
        device_type = self._network.device.type
        self._model.eval()
        try:
            with (
                torch.no_grad(),
                torch.autocast(device_type, dtype=self._autocast_dtype, enabled=self._autocast_dtype is not None),
            ):
                yield
        finally:
            if self._autocast_dtype is not None:
                # Weights cast here carry no gradient; an enclosing autocast must not find them.
                torch.clear_autocast_cache()
            for module, training in modes:
                module.training = training


@dataclass(slots=True)
class _Drawn:
    """What the rows of one slice drew, filled step by step."""

    tokens_NT: Tensor
    logp_behaviour_NT: Tensor
    logp_sampling_NT: Tensor
    length_N: Tensor
    reason_N: Tensor

    @classmethod
    def empty(cls, num_rows: int, num_tokens: int, device: torch.device) -> "_Drawn":
        shape = (num_rows, num_tokens)
        return cls(
            tokens_NT=torch.zeros(shape, dtype=torch.long, device=device),
            logp_behaviour_NT=torch.zeros(shape, device=device),
            logp_sampling_NT=torch.zeros(shape, device=device),
            length_N=torch.zeros(num_rows, dtype=torch.long, device=device),
            reason_N=torch.zeros(num_rows, dtype=torch.long, device=device),
        )


def plan_waves(lengths: Sequence[int], n: int, max_rows: int, *, mix_lengths: bool) -> list[list[int]]:
    """Which prompts are read together: lists of places in the call, shortest prompts first, stable among equals.

    A wave's rows (prompts times ``n``) stay within ``max_rows`` and its padded tokens within 32,768, or it is one
    prompt alone. Where lengths may not mix, a wave holds prompts of one length.
    """
    waves: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        wave = waves[-1] if waves else []
        fits = (
            wave
            and (len(wave) + 1) * n <= max_rows
            and (len(wave) + 1) * lengths[place] <= _PREFILL_TOKENS
            and (mix_lengths or lengths[wave[-1]] == lengths[place])
        )
        if fits:
            wave.append(place)
        else:
            waves.append([place])
    return waves
