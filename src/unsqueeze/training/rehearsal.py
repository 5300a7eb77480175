"""The rehearsal of a run: everything training will do, done once and small, before the first step.

Three gold answers through the verifier, two groups through the estimator of advantages, one generation, and the losses
of RL and IRL on it with their backward passes. Nothing is left of it: no weight moves, no gradient stays, and no random
number of the run is drawn. What is wrong is an error in the first seconds instead of in the third hour.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace

import numpy as np
import torch

from unsqueeze.algos.groups import Estimator
from unsqueeze.algos.objectives import LossOutput
from unsqueeze.config.recipe import Recipe
from unsqueeze.distributed.sharding import whole
from unsqueeze.errors import RunError, UserError, one_line
from unsqueeze.evaluation.unreadable import Unreadable, unreadable_of
from unsqueeze.extensions import IRL_LOSSES, is_place
from unsqueeze.policy.batch import Row, collate
from unsqueeze.policy.loading import model_errors
from unsqueeze.policy.policy import Policy
from unsqueeze.policy.reference import Reference
from unsqueeze.progress import Progress, Silent
from unsqueeze.rollout.engines import make_engine
from unsqueeze.rollout.types import Completion, Engine, Sampling
from unsqueeze.seeds import prompt_seeds
from unsqueeze.tasks.problem import Problem
from unsqueeze.tasks.task import Task
from unsqueeze.training.covariance import with_rule
from unsqueeze.training.estimating import estimate, estimator_of, trial_groups
from unsqueeze.training.irl_phase import demonstration_loss, with_start_logp, with_weights
from unsqueeze.training.rl_step import surrogate_loss
from unsqueeze.training.run import int32
from unsqueeze.training.sampler_check import sampler_gap
from unsqueeze.training.setup import Parts
from unsqueeze.verify.verdict import Verdict, Verifier
from unsqueeze.verify.verifiers import FunctionVerifier, make_verifier

NUM_GOLD_ANSWERS = 3
NUM_TOKENS = 4
"""Length of the one generation."""


def rehearse(
    recipe: Recipe,
    parts: Parts,
    progress: Progress = Silent(),  # noqa: B008 - stateless
) -> Unreadable:
    """Try verifier, generation and loss; return the problems whose gold answer cannot be read, where they are few.

    UserError or RunError saying what does not work.

    vLLM in this process takes long to start, and is tried by that: here the training weights stand in for it.
    """
    sampler = recipe.rollout
    if sampler.engine == "vllm":
        sampler = sampler.model_copy(update={"engine": "hf"})
    with parts.policy.processes.agreeing():
        unreadable = check_verifier(recipe, parts, progress)
    check_estimator(parts.own.estimator or estimator_of(recipe.rl), recipe)
    prompt = parts.prompts.tokens(parts.data.train[0])
    with closing(make_engine(sampler, parts.policy)) as engine, leaving_no_trace(parts.policy):
        engine.sync(parts.policy)
        is_model_itself = sampler.engine == "hf"
        with model_errors(recipe.model, "sampling from it") if is_model_itself else nullcontext():
            completion = check_generation(engine, prompt, recipe, parts.end_ids)
            if is_model_itself:
                check_sampler(parts.policy, prompt, completion)
        check_loss(parts.policy, parts.reference, prompt, completion, recipe)
        check_irl_loss(parts.policy, prompt, completion, recipe)
    return unreadable


def check_verifier(recipe: Recipe, parts: Parts, progress: Progress) -> Unreadable:
    """Give the verifier gold answers; of one that is not the task's the form of a right answer is not known, so that
    it is only tried, where it is a function.
    """
    given, data = parts.own.verifier, parts.data
    problems = [*data.train, *data.validation, *data.test]
    if given is None:
        with closing(make_verifier(parts.task, recipe.verify)) as verifier:
            if recipe.verify.verifier is None or not is_place(recipe.verify.verifier):
                unreadable = check_readable(verifier, problems, recipe, progress)
                without = {problem.id for problem in unreadable.problems}
                readable = [problem for problem in data.train if problem.id not in without]
                check_gold_answers(verifier, readable or data.train, recipe, parts.task)
                return unreadable
        given = verifier
    if isinstance(given, FunctionVerifier):
        problem = data.train[0]
        given.try_out(problem, problem.answer)
    return Unreadable([], len(problems))


def check_readable(verifier: Verifier, problems: Sequence[Problem], recipe: Recipe, progress: Progress) -> Unreadable:
    """Return the problems whose gold answer cannot be read. UserError if their share is above the recipe's."""
    unreadable = unreadable_of(problems, verifier, progress)
    most = recipe.verify.max_unreadable
    if unreadable.share > most:
        raise UserError(
            f"{unreadable.describe()}; that is {unreadable.share:.1%}, and verify.max_unreadable allows {most:.1%}. "
            f"Correct the answers in the data (final answers only, as a verifier can read them; data.answer_field "
            f"is {recipe.data.answer_field!r}), leave those problems out, or allow more."
        )
    return unreadable


def check_gold_answers(verifier: Verifier, problems: Sequence[Problem], recipe: Recipe, task: Task) -> None:
    """The first, a middle and the last problem's gold answers, given as responses, must be correct.

    UserError naming the problem if one is not: no answer to it could earn credit. RunError if the verifier is too slow.
    """
    places = {round(i * (len(problems) - 1) / (NUM_GOLD_ANSWERS - 1)) for i in range(NUM_GOLD_ANSWERS)}
    chosen = [problems[place] for place in sorted(places)]
    golds = [(problem, task.gold_response(problem, recipe.data)) for problem in chosen]
    known = [(problem, response) for problem, response in golds if response is not None]
    judgements = verifier.verify([problem for problem, _ in known], [response for _, response in known])
    for (problem, response), judgement in zip(known, judgements, strict=True):
        found = (
            f"the gold answer of problem {problem.id}, {problem.answer[:80]!r}, was given to the verifier as the "
            f"response {response[:120]!r} and found {judgement.verdict} ({judgement.reason})"
        )
        if judgement.verdict is Verdict.TIMED_OUT:
            raise RunError(f"{found}; try again with more verify.timeout_s, and see what `unsqueeze doctor` says.")
        if judgement.verdict is not Verdict.CORRECT:
            raise UserError(
                f"{found}, so that no answer to it could earn credit. Correct the answers in the data (final answers "
                f"only, as a verifier can read them; data.answer_field is {recipe.data.answer_field!r}), or "
                f"leave that problem out."
            )


def check_estimator(estimator: Estimator, recipe: Recipe) -> None:
    """Ask the estimator about two groups: one right answer among wrong ones, and none right and one not judged; with
    ``rl.overlong`` the first response of either is too long by half.

    UserError where it refuses its options or gives what cannot be trained on.
    """
    groups = trial_groups(recipe.rl.group_size, num_tokens=NUM_TOKENS)
    if recipe.rl.overlong is not None:
        groups.rewards_PG[:, 0] -= 0.5
    estimate(estimator, groups, recipe.rl.surrogate)


def check_generation(
    engine: Engine, prompt: Sequence[int], recipe: Recipe, end_ids: tuple[int, ...] = ()
) -> Completion:
    """A few tokens of two responses sampled as in training, the first of them. Raises whatever the engine raises."""
    settings = recipe.rollout
    sampling = Sampling(
        max_tokens=min(NUM_TOKENS, settings.max_tokens),
        temperature=settings.temperature,
        top_p=settings.top_p,
        top_k=settings.top_k,
        stop=settings.stop,
        end_ids=end_ids,
    )
    return engine.generate([prompt], 2, sampling, seeds=prompt_seeds(0, 1))[0][0]


def check_sampler(policy: Policy, prompt: Sequence[int], completion: Completion) -> None:
    """UserError where the embedded engine draws from something else than a plain forward pass gives."""
    row = Row(prompt_tokens=int32(prompt), tokens=completion.tokens, weight=0.0)
    refusal = sampler_gap(policy, [row], [completion.logp_raw], max_tokens=row.num_tokens).refusal("hf")
    if refusal is not None:
        raise UserError(f"model.path is {policy.settings.path!r}, and {refusal}")


def check_loss(
    policy: Policy, reference: Reference | None, prompt: Sequence[int], completion: Completion, recipe: Recipe
) -> None:
    """The loss of an RL step on one response, and its gradient. RunError if either is not finite."""
    row = Row(
        prompt_tokens=int32(prompt),
        tokens=completion.tokens,
        weight=1 / len(completion.tokens),
        advantage=1.0,
        logp_proximal=completion.logp_behaviour,
    )
    if recipe.rl.covariance is not None:
        row = with_rule(row, np.ones(len(row.tokens), dtype=bool), recipe.rl.covariance)
    temperature = recipe.rollout.temperature
    if reference is not None:
        logp_ref = reference.logp([row], max_tokens=recipe.rl.tokens_per_microbatch, temperature=temperature)
        row = replace(row, logp_ref=logp_ref[0])
    batch = collate([row], pad=policy.pad, device=policy.device)
    with_entropy = recipe.rl.adaptive_entropy is not None or recipe.rl.surrogate.entropy_coefficient > 0
    logp_NT, entropy_NT = policy.logprobs(batch, temperature=temperature, with_entropy=with_entropy)
    with refused_as(f"rl.loss {recipe.rl.loss}"):
        output = surrogate_loss(logp_NT, entropy_NT, batch, settings=recipe.rl)
    check_gradient(policy, output, f"rl.loss {recipe.rl.loss}", recipe)


def check_irl_loss(policy: Policy, prompt: Sequence[int], completion: Completion, recipe: Recipe) -> None:
    """The loss of an IRL update on one response, and its gradient. RunError if either is not finite."""
    settings = recipe.irl
    if settings is None:
        return
    rows = with_weights([Row(prompt_tokens=int32(prompt), tokens=completion.tokens, weight=0.0)], settings)
    if settings.kl_guard > 0:
        rows = with_start_logp(policy, rows, max_tokens=recipe.rl.tokens_per_microbatch)
    batch = collate(rows, pad=policy.pad, device=policy.device)
    logp_NT, entropy_NT = policy.logprobs(batch)
    loss = IRL_LOSSES.resolve(settings.loss)
    with refused_as(f"irl.loss {settings.loss}"):
        output = demonstration_loss(logp_NT, entropy_NT, batch, loss=loss, kl_guard=settings.kl_guard)
    check_gradient(policy, output, f"irl.loss {settings.loss}", recipe)


def check_gradient(policy: Policy, output: object, name: str, recipe: Recipe) -> None:
    """UserError for what is no loss, RunError for a loss or a gradient that is not finite."""
    if not isinstance(output, LossOutput):
        raise UserError(f"{name} gave a {type(output).__name__}; a loss gives algos.objectives.LossOutput.")
    policy.model.zero_grad(set_to_none=True)
    output.loss.backward()
    gradients = [p.grad for _, p in policy.trainable() if p.grad is not None]
    norm = whole(torch.nn.utils.get_total_norm(gradients)).item()
    if not (math.isfinite(output.loss.item()) and math.isfinite(norm)):
        raise RunError(
            f"the loss of one response is {output.loss.item()} and its gradient norm {norm} before any training: the "
            f"weights of {recipe.model.path!r} are damaged, or model.compute_dtype {recipe.model.compute_dtype!r} "
            f"overflows."
        )


@contextmanager
def refused_as(name: str) -> Iterator[None]:
    """Turn what a loss raises for its arguments into a UserError."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise UserError(f"{name} cannot be called as a loss is: {one_line(error)} (docs/algorithms.md).") from error


@contextmanager
def leaving_no_trace(policy: Policy) -> Iterator[None]:
    """The random state of before is there again afterwards, and the policy has no gradients."""
    devices = [policy.device] if policy.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            policy.model.zero_grad(set_to_none=True)
