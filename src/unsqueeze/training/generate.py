"""Rollouts for RL steps: sampled, judged and on disk before anything is learned from them.

One *generation* serves one or more optimizer steps (``rl.steps_per_generation``) and is stored as one file, under its
first step; one that is stored is read back instead of made again. The number of a group is the place of its problem in
the stream of training problems, so what is stored also says how far the stream was read.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from unsqueeze.algos.dynamic_sampling import DynamicSampling, SamplingState, deal
from unsqueeze.algos.groups import Advantages, Estimator
from unsqueeze.config.rl_settings import RlSettings
from unsqueeze.errors import RunError
from unsqueeze.rollout.types import Completion, Group, Rollout
from unsqueeze.seeds import prompt_seeds
from unsqueeze.tasks.problem import Problem
from unsqueeze.training.estimating import estimate, estimated_groups, rewards_PG
from unsqueeze.training.judging import RoundJudge
from unsqueeze.training.proximal import trainer_scores, with_logp_proximal
from unsqueeze.training.run import Run, int32
from unsqueeze.training.sampler_check import check_first_rollouts
from unsqueeze.training.stream import ProblemStream
from unsqueeze.verify.verdict import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Seconds:
    """Time that a generation took; zeros for the later steps it serves.

    ``generate_s`` has in it what was judged meanwhile, and ``verify_s`` what judging took once everything was drawn.
    """

    generate_s: float = 0.0
    verify_s: float = 0.0
    logp_s: float = 0.0
    store_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StepBatch:
    """Batch that one optimizer step learns from: ``groups``, out of everything its generation ``sampled``.

    ``num_resamples`` counts rounds of further prompts, ``num_missing`` and ``num_informative_lost`` the informative
    groups that the generation fell short of, and those that were found but not used; all 0 without dynamic sampling.
    """

    step: int
    groups: list[Group]
    sampled: list[Group]
    num_resamples: int = 0
    num_missing: int = 0
    num_informative_lost: int = 0
    seconds: Seconds = Seconds()


def generation_steps(first_step: int, last_step: int, done: int, steps_per_generation: int) -> list[range]:
    """The generations of an RL phase from ``first_step`` to ``last_step``, those wholly done left out.

    The phase's last generation may serve fewer steps. One that is done in part is given whole: its rollouts are stored,
    and its steps up to ``done`` are to be skipped.
    """
    firsts = range(first_step, last_step + 1, steps_per_generation)
    generations = [range(first, min(first + steps_per_generation, last_step + 1)) for first in firsts]
    return [steps for steps in generations if steps[-1] > done]


def generate(run: Run, stream: ProblemStream, steps: range, *, phase: int) -> list[StepBatch]:
    """The batches of a generation, from the store or from the present policy, and the stream moved past them."""
    store = run.directory.rollouts
    if steps[0] in store.steps():
        begun = time.perf_counter()
        sampled = stored_generation(run, steps[0])
        seconds = Seconds(store_s=time.perf_counter() - begun)
    else:
        sampled, seconds = sample(run, stream, steps, phase)
        check_judged([j.verdict for group in sampled for j in group.judgements], f"the rollouts of step {steps[0]}")
        if not store.steps():
            check_first_rollouts(run, sampled)
        if trainer_scores(run) and len(steps) > 1:
            begun = time.perf_counter()
            run.engine.rest()
            later = step_batches(sampled, steps, run.recipe.rl, run.estimator)[1:]
            sampled = with_logp_proximal(run, sampled, [batch.groups for batch in later])
            seconds = replace(seconds, logp_s=time.perf_counter() - begun)
        begun = time.perf_counter()
        store.write(steps[0], sampled)
        seconds = replace(seconds, store_s=time.perf_counter() - begun)
    stream.position = max(stream.position, sampled[-1].rollouts[0].group + 1)
    batches = step_batches(sampled, steps, run.recipe.rl, run.estimator)
    return [replace(batches[0], seconds=seconds), *batches[1:]]


def stored_generation(run: Run, step: int) -> list[Group]:
    """The groups stored for ``step``. RunError naming the file, and what to do with it, if it is damaged or missing."""
    try:
        return run.directory.rollouts.read(step)
    except RunError as error:
        raise RunError(f"{error} Once it is out of the run directory, a resumed run makes it again.") from error


def check_judged(verdicts: Sequence[Verdict], what: str) -> None:
    """RunError if not one answer was judged: nothing could be learned from them, and nothing is stored of them."""
    if not any(verdict.judged for verdict in verdicts):
        counts = ", ".join(f"{number} {verdict}" for verdict, number in Counter(verdicts).items())
        raise RunError(
            f"of {what} not one could be judged ({counts}), so they were not stored; find out what keeps the verifier "
            f"from its work (load, memory, verify.timeout_s), then resume the run (--resume)."
        )


def sample(run: Run, stream: ProblemStream, steps: range, phase: int) -> tuple[list[Group], Seconds]:
    """Groups for ``steps``: one round of prompts, or as many as dynamic sampling asks for."""
    settings = run.recipe.rl
    groups, seconds = sample_round(run, stream, settings.prompts_per_step * len(steps), steps[0], phase)
    if settings.dynamic_sampling is None:
        return groups, seconds
    rule = dynamic_sampling(settings, len(steps))
    state = rule.absorb(SamplingState(), informative(groups, run.estimator, settings))
    while count := rule.request(state):
        more, further = sample_round(run, stream, count, steps[0], phase)
        state = rule.absorb(state, informative(more, run.estimator, settings))
        groups += more
        seconds = Seconds(
            generate_s=seconds.generate_s + further.generate_s, verify_s=seconds.verify_s + further.verify_s
        )
    return groups, seconds


def sample_round(run: Run, stream: ProblemStream, count: int, step: int, phase: int) -> tuple[list[Group], Seconds]:
    """G judged rollouts for each of the next ``count`` problems."""
    group_size = run.recipe.rl.group_size
    begun = time.perf_counter()
    run.engine.sync(run.policy)
    first_group = stream.position
    problems = stream.take(count)
    prompts = [run.prompt_tokens(problem) for problem in problems]
    with RoundJudge(run.verifier, [problem for problem in problems for _ in range(group_size)]) as judge:
        completions = run.engine.generate(
            prompts,
            group_size,
            run.rollout_sampling,
            seeds=prompt_seeds(run.seed("rollouts", first_group), len(prompts)),
            on_finished=lambda _: run.stop.check_alone(),
            **judge.told_by(run.engine),
        )
        generated = time.perf_counter()
        judgements = judge.judgements([completion.text for group in completions for completion in group])
    groups = [
        Group(
            problem=problem,
            rollouts=rollouts_of(run, problem, prompts[i], completions[i], first_group + i, phase, step),
            judgements=tuple(judgements[i * group_size : (i + 1) * group_size]),
        )
        for i, problem in enumerate(problems)
    ]
    return groups, Seconds(generate_s=generated - begun, verify_s=time.perf_counter() - generated)


def step_batches(sampled: Sequence[Group], steps: range, settings: RlSettings, estimator: Estimator) -> list[StepBatch]:
    """Deal what a generation sampled to the steps it serves; with dynamic sampling, what its rule keeps."""
    if settings.dynamic_sampling is None:
        dealt = deal(sampled, len(steps))
        return [StepBatch(step=step, groups=groups, sampled=groups) for step, groups in zip(steps, dealt, strict=True)]
    rule = dynamic_sampling(settings, len(steps))
    outcome = rule.final(rule.replay(informative(sampled, estimator, settings)))
    dealt = deal([sampled[place] for place in outcome.kept], len(steps))
    batches = [StepBatch(step=step, groups=groups, sampled=[]) for step, groups in zip(steps, dealt, strict=True)]
    first = replace(
        batches[0],
        sampled=list(sampled),
        num_resamples=outcome.num_resamples,
        num_missing=outcome.num_missing,
        num_informative_lost=outcome.num_informative_lost,
    )
    return [first, *batches[1:]]


def dynamic_sampling(settings: RlSettings, num_steps: int) -> DynamicSampling:
    """The rule of a recipe, for a generation that serves ``num_steps``."""
    assert settings.dynamic_sampling is not None
    return DynamicSampling(
        target_groups=settings.prompts_per_step * num_steps,
        max_resample_times=settings.dynamic_sampling.max_resample_times,
        rule=settings.dynamic_sampling.rule,
    )


def informative(groups: Sequence[Group], estimator: Estimator, settings: RlSettings) -> list[bool]:
    """Tell which groups have a gradient: those in which the estimator gives a response an advantage other than 0."""
    return [bool(flag) for flag in by_verdicts(groups, estimator, settings).moves_PG.any(dim=1)]


def by_verdicts(groups: Sequence[Group], estimator: Estimator, settings: RlSettings) -> Advantages:
    """What the estimator makes of the verdicts, before any shaping of the reward for length, as in Eq. 26."""
    return estimate(estimator, estimated_groups(groups, rewards_PG(groups)), settings.surrogate)


def sampled_version(run: Run) -> int:
    """The version of the policy that the engine samples from. RunError if it is not the present one."""
    version = run.engine.policy_version
    if version is not None and version != run.policy.version:
        raise RunError(
            f"the engine sampled from version {version} of the policy, and the trainer is at {run.policy.version}; "
            f"nothing was stored of it."
        )
    return run.policy.version


def rollouts_of(
    run: Run,
    problem: Problem,
    prompt: Sequence[int],
    completions: Sequence[Completion],
    group: int,
    phase: int,
    step: int,
) -> tuple[Rollout, ...]:
    """The rollouts of one prompt, drawn from the policy as it is."""
    return tuple(
        Rollout(
            problem_id=problem.id,
            group=group,
            index=index,
            prompt_tokens=int32(prompt),
            completion=completion,
            policy_version=sampled_version(run),
            phase=phase,
            step=step,
        )
        for index, completion in enumerate(completions)
    )
