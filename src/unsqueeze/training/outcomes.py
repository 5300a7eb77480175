"""Shares of responses that cannot be right because of how they end or read: usual reasons why a phase does nothing."""

from collections.abc import Mapping, Sequence

from unsqueeze.rollout.types import Group, StopReason
from unsqueeze.verify.extract import last_boxed
from unsqueeze.verify.verdict import Verdict

LEAST_SHARE = 0.005
IN_FULL = {"cut_off": "cut off at rollout.max_tokens", "unparsable": "unparsable", "no_box": "without a box"}
IN_SHORT = {"cut_off": "cut off", "unparsable": "unparsable", "no_box": "no box"}


def answer_shares(groups: Sequence[Group], *, boxed: bool) -> dict[str, float]:
    r"""Return which shares of the responses are cut off at ``rollout.max_tokens``, unparsable (no answer can be read
    from them) and, where answers count in a box alone (``boxed``), have no closed ``\boxed{}``. Empty without any.

    One response may be all of these.
    """
    responses = [
        (rollout.completion, judgement.verdict)
        for group in groups
        for rollout, judgement in zip(group.rollouts, group.judgements, strict=True)
    ]
    if not responses:
        return {}
    number = len(responses)
    shares = {
        "cut_off": sum(completion.stop_reason is StopReason.LENGTH for completion, _ in responses) / number,
        "unparsable": sum(verdict is Verdict.UNPARSABLE for _, verdict in responses) / number,
    }
    if boxed:
        shares["no_box"] = sum(not last_boxed(each.text) for each, _ in responses) / number
    return shares


def describe_shares(shares: Mapping[str, float], words: Mapping[str, str] = IN_FULL) -> str:
    """Name the shares that come to a per cent, the largest first; empty where none does."""
    found = sorted(((share, name) for name, share in shares.items() if share >= LEAST_SHARE), reverse=True)
    return ", ".join(f"{share:.0%} {words[name]}" for share, name in found)
