"""An engine that says exactly what it was told to, for tests of everything around an engine.

    engine = ScriptedEngine(tokenizer, ["3 + 4 = 7", "I do not know"])               # in the order of asking
    engine = ScriptedEngine(tokenizer, {"What is 3 + 4?": ["7", "8"]})               # by prompt
    engine = ScriptedEngine(tokenizer, [Line("7", logp=(-0.1,)), Line("7 7 7", stop_reason=StopReason.LENGTH)])

Nothing is sampled: seed, temperature and cuts are ignored. The limit is kept: a text of more than ``max_tokens``
tokens is an error of the script unless it is meant to be truncated. As with any engine, a response ends at the first
end token or stop text that a line holds.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unsqueeze.errors import UserError
from unsqueeze.rollout.completions import Ended, completions_of
from unsqueeze.rollout.stops import StopStrings, end_token_ids
from unsqueeze.rollout.types import Completion, Sampling, StopReason
from unsqueeze.tasks.turns import turn_end

DEFAULT_LOGP = math.log(0.5)


@dataclass(frozen=True, slots=True)
class Line:
    """One scripted completion.

    ``logp`` is the log-prob of each token in nats, the end token's included, or one number for all of them. Tokens are
    those of ``text``, followed by the end token of a turn (the tokenizer's, where it has no chat template) where
    ``stop_reason`` is ``EOS``; with ``LENGTH`` they are cut at ``max_tokens``.
    """

    text: str
    logp: float | tuple[float, ...] = DEFAULT_LOGP
    stop_reason: StopReason = StopReason.EOS


class ScriptedEngine:
    """Implements ``Engine`` with lines given beforehand.

    ``script`` is a sequence of lines, spoken in the order of asking (all n of the first prompt, then of the second,
    over all calls), or a mapping from a prompt to its lines. A prompt in the mapping is the text of the prompt, as the
    tokenizer decodes it without special tokens. A plain string is a line that ends with the end token.
    """

    def __init__(self, tokenizer: Any, script: Sequence[str | Line] | Mapping[str, Sequence[str | Line]]) -> None:
        self._tokenizer = tokenizer
        self._in_order: Iterator[str | Line] | None = None
        self._by_prompt: dict[str, Iterator[str | Line]] = {}
        if isinstance(script, Mapping):
            self._by_prompt = {prompt: iter(lines) for prompt, lines in script.items()}
        else:
            self._in_order = iter(script)
        end = turn_end(tokenizer)
        self._end = tokenizer.eos_token_id if end is None else end
        self._end_ids = end_token_ids(None, tokenizer)
        self.num_spoken = 0
        self.num_syncs = 0
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
        completions: list[list[Completion]] = []
        for prompt in prompts:
            first = n * len(completions)
            completions.append([self._speak(prompt, sampling) for _ in range(n)])
            if on_ended is not None:
                on_ended(list(enumerate(completions[-1], start=first)))
        if on_finished is not None:
            on_finished(n * len(prompts))
        return completions

    def sync(self, policy: Any) -> None:
        """Counts that it was asked."""
        self.num_syncs += 1

    def rest(self) -> None:
        """Give nothing back."""

    def close(self) -> None:
        """Release nothing."""

    def _speak(self, prompt: Sequence[int], sampling: Sampling) -> Completion:
        line = self._next_line(prompt)
        line = Line(line) if isinstance(line, str) else line
        self.num_spoken += 1
        ids: list[int] = self._tokenizer(line.text, add_special_tokens=False)["input_ids"]
        stops = StopStrings(self._tokenizer, sampling.stop)
        if ended := self._ended(ids, line, stops, sampling):
            return completions_of([ended], self._tokenizer, stops, engine="scripted")[0]
        if line.stop_reason is StopReason.EOS:
            if self._end is None:
                raise UserError("scripted engine: the tokenizer has no end token; give lines another stop_reason.")
            ids = [*ids, self._end]
        text = line.text
        if line.stop_reason is StopReason.LENGTH:
            ids = ids[: sampling.max_tokens]
            text = self._tokenizer.decode(ids, skip_special_tokens=True)
        if len(ids) > sampling.max_tokens:
            raise UserError(
                f"scripted engine: line {self.num_spoken} ({line.text!r}) has {len(ids)} tokens and max_tokens is "
                f"{sampling.max_tokens}; shorten it, or give it stop_reason LENGTH to have it cut."
            )
        logp = np.asarray(list(_log_probs(line, len(ids))), dtype=np.float32)
        return Completion(
            tokens=np.asarray(ids, dtype=np.int32),
            text=text,
            logp_raw=logp,
            logp_behaviour=logp,
            stop_reason=line.stop_reason,
        )

    def _ended(self, ids: list[int], line: Line, stops: StopStrings, sampling: Sampling) -> Ended | None:
        """The line up to what ends it, where it holds that within the limit."""
        for length in range(1, min(len(ids), sampling.max_tokens) + 1):
            reason = None
            if ids[length - 1] in (*self._end_ids, *sampling.end_ids):
                reason = StopReason.EOS
            elif sampling.stop and bool(stops.met([ids[:length]])[0]):
                reason = StopReason.STOP
            if reason is not None:
                logp = np.asarray(list(_log_probs(line, length)), dtype=np.float32)
                return Ended(np.asarray(ids[:length], dtype=np.int32), logp, logp, reason)
        return None

    def _next_line(self, prompt: Sequence[int]) -> str | Line:
        if self._in_order is not None:
            lines, where = self._in_order, "the script"
        else:
            text = self._tokenizer.decode(list(prompt), skip_special_tokens=True)
            if text not in self._by_prompt:
                raise UserError(
                    f"scripted engine: the script has no lines for the prompt {text!r}; it has lines for "
                    f"{', '.join(map(repr, self._by_prompt)) or 'none'}."
                )
            lines, where = self._by_prompt[text], f"the script for the prompt {text!r}"
        try:
            return next(lines)
        except StopIteration:
            raise UserError(
                f"scripted engine: {where} has run out after {self.num_spoken} completions in all; give it more lines."
            ) from None


def _log_probs(line: Line, num_tokens: int) -> Iterable[float]:
    if not isinstance(line.logp, tuple):
        return [line.logp] * num_tokens
    if len(line.logp) != num_tokens:
        raise UserError(
            f"scripted engine: the line {line.text!r} has {num_tokens} tokens (an end token included) and "
            f"{len(line.logp)} log-probs; give one a token, or one number for all."
        )
    return line.logp
