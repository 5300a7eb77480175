"""A trainer's rollouts made ready to be chosen from: true prompts, ends, and who is left out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from unsqueeze.errors import UserError
from unsqueeze.interop.rollout_files import token_ids
from unsqueeze.interop.rollouts.excluded import Excluded
from unsqueeze.interop.rollouts.format import Format
from unsqueeze.interop.rollouts.rendered import TruePrompts, Unrendering
from unsqueeze.interop.sample_files import Record
from unsqueeze.utf8 import is_utf8


@dataclass(slots=True)
class Reading:
    """What was met while rollouts were read, in numbers.

    ``num_expected`` is how many there must be by the trainer's own state, ``expected_by`` how that was found; None
    where nothing says. ``num_compared`` have token ids that were compared with those of their text, and of those that
    were looked at ``num_without_ids`` have none.
    """

    format: str = "plain"
    origins: Mapping[str, str] = field(default_factory=dict)
    num_rows: int = 0
    num_repeated: int = 0
    num_evaluation: int = 0
    num_cut_off: int = 0
    num_compared: int = 0
    num_without_ids: int = 0
    num_retokenised: int = 0
    rewards: set[float] = field(default_factory=set)
    num_expected: int | None = None
    expected_by: str = ""

    @property
    def num_distinct(self) -> int:
        return self.num_rows - self.num_repeated

    @property
    def num_rollouts(self) -> int:
        """Return how many there are to choose from."""
        return self.num_distinct - self.num_evaluation

    def describe(self) -> str:
        """Say in a few lines what was read, and where each field stood."""
        expected = "nothing says how many were to be there"
        if self.num_expected is not None:
            expected = f"{self.num_expected:,} expected ({self.expected_by})"
        known = [f"{self.num_cut_off:,} cut off"]
        if self.num_compared:
            known.append(f"{self.num_retokenised:,} of {self.num_compared:,} texts have other tokens than were sampled")
        if self.num_without_ids:
            known.append(
                f"{self.num_without_ids:,} without token ids: those of their texts may differ from the sampled ones"
            )
        lines = [
            f"format {self.format}: {self.num_rows:,} rows, {self.num_distinct:,} distinct, "
            f"{self.num_repeated:,} repeated in later log calls, {self.num_evaluation:,} of evaluation prompts, "
            f"{self.num_rollouts:,} left; {expected}",
            "; ".join(known),
            *(f"{name}: {origin}" for name, origin in self.origins.items()),
        ]
        if len(self.rewards) > 2:
            least, most = min(self.rewards), max(self.rewards)
            number = f"more than {MOST_REWARDS}" if len(self.rewards) > MOST_REWARDS else len(self.rewards)
            lines.append(
                f"rewards take {number} values from "
                f"{least:g} to {most:g}, and above 0 counts as right; name a verifier's column with --reward, or use "
                f"--rejudge, where they are shaped"
            )
        return "\n".join(lines)


MOST_REWARDS = 100
"""Different rewards that are told apart."""


@dataclass(frozen=True, slots=True)
class Preparation:
    """What is done to every rollout before it is looked at.

    ``tokenizer`` is that of the model the demonstrations are for, ``max_length`` the most tokens a response could have.
    """

    format: Format
    tokenizer: Any = None
    max_length: int | None = None
    true_prompts: TruePrompts | None = None
    unrendering: Unrendering | None = None
    excluded: Excluded | None = None

    @property
    def does_nothing(self) -> bool:
        return self.tokenizer is None and self.max_length is None and self.true_prompts is None

    def prepared(self, record: Record) -> Record:
        """Return the rollout with its true prompt, its text, and why it ended."""
        if self.does_nothing and record.fields.get("completion", "") is not None:
            return record
        fields = dict(record.fields)
        ids = token_ids(record)
        if "completion" in fields and fields["completion"] is None:
            fields["completion"] = self._said(record, ids)
        self._put_prompt(record, fields)
        if self.max_length and fields.get("stop_reason") is None:
            length = self._length(record, ids, fields)
            if length is not None and length >= self.max_length:
                fields["stop_reason"] = "length"
        return replace(record, fields=fields)

    def _said(self, record: Record, ids: tuple[list[int], list[int]] | None) -> str:
        if self.tokenizer is None or ids is None:
            raise UserError(
                f"{record.where}: the response was taken apart (reasoning, calls of tools), so that its text is read "
                f"from its tokens; give the model with --model."
            )
        return str(self.tokenizer.decode(ids[1], skip_special_tokens=True))

    def _put_prompt(self, record: Record, fields: dict[str, Any]) -> None:
        if not fields.get("rendered"):
            return
        if self.true_prompts is not None:
            fields["prompt"] = self.true_prompts.of(record)
            del fields["rendered"]
        elif self.format.prompts == "decoded":
            del fields["rendered"]
        elif self.unrendering is not None and (found := self.unrendering.messages(fields["prompt"])) is not None:
            fields["prompt"] = found
            del fields["rendered"]

    def _length(self, record: Record, ids: tuple[list[int], list[int]] | None, fields: Mapping[str, Any]) -> int | None:
        if ids is not None:
            ended = self.tokenizer is not None and bool(ids[1]) and ids[1][-1] in self.tokenizer.all_special_ids
            return len(ids[1]) - ended
        text = _text(fields)
        if self.tokenizer is None or text is None or not is_utf8(text):
            return None
        return len(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def is_evaluation(self, record: Record) -> bool:
        return self.excluded is not None and self.excluded.holds(record)

    def count(self, record: Record, reading: Reading) -> None:
        """Count what is known of a rollout that is prepared."""
        reading.num_cut_off += record.fields.get("stop_reason") == "length"
        ids = token_ids(record)
        reading.num_without_ids += ids is None
        if ids is None or self.tokenizer is None:
            return
        text = self.tokenizer.decode(ids[1], skip_special_tokens=True)
        reading.num_compared += 1
        reading.num_retokenised += not _same(self.tokenizer, text, ids[1])


def _text(fields: Mapping[str, Any]) -> str | None:
    for name in ("completion", "response", "text"):
        value = fields.get(name)
        if isinstance(value, str):
            return value
        if isinstance(value, Sequence) and len(value) == 1 and isinstance(value[0], Mapping):
            content = value[0].get("content")
            return content if isinstance(content, str) else None
    messages = fields.get("messages")
    last = messages[-1] if isinstance(messages, list) and messages else None
    content = last.get("content") if isinstance(last, Mapping) else None
    return content if isinstance(content, str) else None


def _same(tokenizer: Any, text: str, tokens: list[int]) -> bool:
    special = set(tokenizer.all_special_ids)
    again = tokenizer(text, add_special_tokens=False)["input_ids"]
    return list(again) == [token for token in tokens if token not in special]
