"""Report of what a phase really did: to the weights, to its own batch, and to the policy on watched prompts.

A step size can be so small that rounding eats it (``docs/paper.md``): the report says how many weights moved at all,
and how many would have moved had they been stored in bf16.
"""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any

from unsqueeze.training.outcomes import describe_shares
from unsqueeze.wording import counted

NOTHING_MOVED_NATS = 1e-6
"""KL per token on watched prompts below which a phase that was meant to move the policy did not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseReport:
    """Log-probs and KL in nats per token; shares in [0, 1]; norms are L2 over all trained weights.

    ``seconds`` are those of the phase's own work, ``measuring_s`` those that its gauges and this report took
    beside them, on ``num_watched`` prompts. ``share_of_rl_seconds``, of an IRL phase, is its ``seconds`` over those of
    the RL phase before it.
    ``nll_before`` and ``nll_after`` are on the phase's own batch: the demonstrations of an IRL phase, the first
    rollouts of an RL phase. ``kl_moved`` estimates KL(policy before ‖ policy after) on watched prompts (k3, on samples
    of the policy before). All three are computed in fp32, the precision of the weights. ``kl_rounding``,
    ``kl_sampler`` and ``logp_rounding`` say what two passes over the SAME weights differ by, at the beginning of the
    phase (``probe.RoundingFloor``); the greedy log-probs are the engine's, and off by about the last of them.
    """

    phase: int
    kind: str
    first_step: int
    last_step: int
    num_updates: int
    seconds: float
    share_of_rl_seconds: float | None
    update_norm: float
    relative_update_norm: float
    share_moved: float
    share_moved_bf16: float
    nll_before: float
    nll_after: float
    kl_moved: float
    kl_rounding: float
    kl_sampler: float
    logp_rounding: float
    greedy_logp_before: float
    greedy_logp_after: float
    measuring_s: float
    num_watched: int
    in_band: bool = False
    """No update was asked for: the gauge that ``irl.hold`` names was within its band."""
    answers: Mapping[str, float] | None = None
    """Of a phase that did nothing: shares of the rollouts it learned from (``outcomes.answer_shares``)."""

    @property
    def did_nothing(self) -> bool:
        """Tell whether the policy is, for all that watched prompts can tell, the one from before."""
        return self.share_moved == 0 or self.kl_moved < NOTHING_MOVED_NATS

    def to_json_object(self) -> dict[str, object]:
        return asdict(self) | {"did_nothing": self.did_nothing}

    @classmethod
    def from_json_object(cls, told: Mapping[str, Any]) -> "PhaseReport":
        """The report back from ``to_json_object``; other keys are passed over.

        A run of an earlier version lacks what reports did not say then: it is what it is by default.
        """
        wanted = [each.name for each in fields(cls) if each.name in told or each.default is MISSING]
        return cls(**{name: told[name] for name in wanted})

    @classmethod
    def all_in(cls, events: Sequence[Mapping[str, Any]]) -> "list[PhaseReport]":
        """Return the reports in a journal; a phase that was cut off and went on may stand there twice, the last counts.

        KeyError or TypeError where an event lacks a field.
        """
        done = {event["phase"]: event for event in events if event["event"] == "phase_finished"}
        return [cls.from_json_object(event) for event in done.values()]

    def warning(self) -> str | None:
        """One sentence no one can miss, where the phase did nothing and was to do something."""
        if not self.did_nothing or self.in_band:
            return None
        if self.num_updates == 0:
            reason = "no group held both right and wrong answers" if self.kind == "rl" else "there was nothing to learn"
            return (
                f"{self.kind.upper()} phase {self.phase} DID NOTHING: it took no update, since {reason}.{self._why()}"
            )
        return (
            f"{self.kind.upper()} phase {self.phase} DID NOTHING: {counted(self.num_updates, 'update')} moved "
            f"{self.share_moved:.2%} of the weights ({self.share_moved_bf16:.4%} of their bf16 values) by a norm of "
            f"{self.update_norm:.1e}, and watched prompts by {self.kl_moved:.1e} nats per token (in fp32; sampler "
            f"and trainer are {self.kl_sampler:.1e} apart by rounding alone). Results will equal those of a run "
            f"without it; raise {self.kind}.learning_rate.{self._why()}"
        )

    def _why(self) -> str:
        """Say what the phase's rollouts were like, and what helps where most of them were cut off."""
        described = describe_shares(self.answers or {})
        if not described:
            return ""
        advice = (
            " Raise rollout.max_tokens, or ask for shorter answers." if (self.answers or {})["cut_off"] >= 0.5 else ""
        )
        return f" Of its rollouts: {described}.{advice}"
