"""A recipe: its sections, and what must fit together. Every setting, its default and its meaning is in its section.

Defaults are a vetted setting for a small run; the recipes that ship state theirs. Values that follow from others are
properties, never fields. Errors raised here are turned into one sentence by ``unsqueeze.config.load``.
"""

import math
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from unsqueeze.algos.schedule import Phase, rl_phase_ends, schedule_phases
from unsqueeze.config.data_settings import DataSettings, PromptSettings
from unsqueeze.config.irl_settings import IrlSettings
from unsqueeze.config.model_settings import ModelSettings
from unsqueeze.config.rl_settings import RlSettings
from unsqueeze.config.rollout_settings import RolloutSettings, VerifySettings
from unsqueeze.config.run_settings import CheckpointSettings, EvaluationSettings, ParallelSettings, TrackingSettings
from unsqueeze.config.settings import ArmName, RunName, Settings
from unsqueeze.errors import UserError


class Recipe(Settings):
    """A whole run."""

    name: RunName
    """Names the run directory, where none is given."""
    description: str = ""
    """Description for people."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Every random draw of the run follows from it."""
    threads: int | None = Field(None, ge=1)
    """CPU threads; null leaves the choice to PyTorch."""
    model: ModelSettings = ModelSettings()
    """The model that is trained."""
    data: DataSettings = DataSettings()
    """The problems that it is trained and tested on."""
    prompt: PromptSettings = PromptSettings()
    """The wording in which problems are put to the model."""
    rollout: RolloutSettings = RolloutSettings()
    """Sampling of answers for training."""
    verify: VerifySettings = VerifySettings()
    """Judging of mathematical answers."""
    rl: RlSettings = RlSettings()
    """The RL phases."""
    irl: IrlSettings | None = None
    """The IRL phases; null trains with plain RL."""
    evaluation: EvaluationSettings = EvaluationSettings()
    """Before training, at the end, and in between."""
    checkpoint: CheckpointSettings = CheckpointSettings()
    """Checkpoints that are saved, and those that stay."""
    trackers: tuple[Literal["tensorboard", "wandb", "mlflow", "trackio"], ...] = ()
    """Services that draw curves of the metrics, beside the files of the run. Each needs the extra of its name."""
    tracking: TrackingSettings = TrackingSettings()
    """Names of the run in the trackers."""
    parallel: ParallelSettings = ParallelSettings()
    """Several processes."""
    arms: dict[ArmName, dict[str, Any]] | None = Field(None, min_length=1)
    """Several runs from one recipe, side by side: a name for each, with the settings in which it differs."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.irl is not None:
            self._irl_can_choose(self.irl)
        overlong = self.rl.overlong
        if overlong is not None and overlong.soft_cache_length > self.rollout.max_tokens:
            raise ValueError(
                f"rl.overlong.soft_cache_length is {overlong.soft_cache_length} but rollout.max_tokens is "
                f"{self.rollout.max_tokens}; the punished part cannot be longer than the response"
            )
        if self.rollout.engine == "vllm_server":
            if not self.rollout.server.urls:
                raise ValueError("rollout.engine is vllm_server, so rollout.server.urls must name one server or more")
            if self.rollout.temperature != 1 and self.rl.sampler_correction != "none":
                raise ValueError(
                    f"rollout.temperature is {self.rollout.temperature:g}, and servers give log-probs at temperature "
                    "1 only; set it to 1, or rl.sampler_correction to none, or use rollout.engine vllm"
                )
        num_train = self.data.num_train
        if num_train is not None and self.rl.prompts_per_step > num_train:
            raise ValueError(
                f"rl.prompts_per_step is {self.rl.prompts_per_step} but data.num_train is {num_train}; "
                f"a step cannot take more problems than there are, so lower the one or raise the other"
            )
        return self

    def _irl_can_choose(self, irl: IrlSettings) -> None:
        most = self.rl.group_size
        if irl.replay_phases == 1 and irl.k > most:
            raise ValueError(
                f"irl.k is {irl.k} but rl.group_size is {most}; at most all {most} rollouts of a group can be selected"
            )
        if irl.rank_by == "ratio" and self.rl.reset is not None:
            raise ValueError(
                "irl.rank_by is ratio, which compares with the base policy, and rl.reset puts another in its place; "
                "set rl.reset to null, or irl.rank_by to present"
            )
        if irl.rank_by == "ratio" and self.rl.reference != "base":
            raise ValueError(
                f"irl.rank_by is ratio, which compares with the base policy, and rl.reference is {self.rl.reference}; "
                f"set it to base, or irl.rank_by to present"
            )

    @property
    def needs_reference(self) -> bool:
        """Tell whether the log-probs of a reference policy are asked for: by a KL term, or by the ranking of IRL."""
        ranks = self.irl is not None and self.irl.rank_by == "ratio"
        return ranks or self.rl.surrogate.kl_coefficient > 0

    def phases(self, num_problems: int) -> list[Phase]:
        """The phases of this run over ``num_problems`` training problems.

        Raises UserError if IRL is asked for and no RL phase is ever complete.
        """
        if self.irl is None:
            return schedule_phases(self.rl.steps, [], irl=False)
        every_passes = self.irl.every_passes
        if every_passes is None and self.irl.every_steps is None:
            every_passes = 1.0
        ends = rl_phase_ends(
            self.rl.steps,
            every_steps=self.irl.every_steps,
            every_passes=every_passes,
            num_problems=num_problems,
            prompts_per_step=self.rl.prompts_per_step,
        )
        if not ends:
            raise UserError(self._never_complete(num_problems, every_passes))
        return schedule_phases(self.rl.steps, ends, irl=True)

    def _never_complete(self, num_problems: int, every_passes: float | None) -> str:
        assert self.irl is not None
        steps, prompts = self.rl.steps, self.rl.prompts_per_step
        if every_passes is None:
            needed, length = self.irl.every_steps, f"irl.every_steps is {self.irl.every_steps}"
            shorter = f"irl.every_steps to {steps} or less"
        else:
            needed = math.ceil(every_passes * num_problems / prompts - 1e-9)
            length = f"irl.every_passes is {every_passes:g}, over {num_problems} problems, {prompts} a step"
            # Rounded down to three digits, so that it is met.
            passes = steps * prompts / num_problems
            digits = 2 - math.floor(math.log10(passes))
            shorter = f"irl.every_passes to {math.floor(passes * 10**digits) / 10**digits:g} or less"
        return (
            f"rl.steps is {steps}, and the first RL phase would end with step {needed} ({length}), so IRL would never "
            f"run. Raise rl.steps to {needed} or more, or set {shorter}; irl=null trains with plain RL."
        )
