"""The rehearsal of a run: everything training will do, done once and small, before the first step.

Three gold answers through the verifier, one generation, one loss with its backward pass. Nothing is left of it: no
weight moves, no gradient stays, and no random number of the run is drawn. What is wrong is an error in the first
seconds instead of in the third hour.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace

import torch

from unsqueeze.config.recipe import Recipe
from unsqueeze.distributed.sharding import whole
from unsqueeze.errors import RunError, UserError
from unsqueeze.policy.batch import Row, collate
from unsqueeze.policy.policy import Policy
from unsqueeze.policy.reference import Reference
from unsqueeze.rollout.engines import make_engine
from unsqueeze.rollout.types import Completion, Engine, Sampling
from unsqueeze.seeds import prompt_seeds
from unsqueeze.tasks.problem import Problem
from unsqueeze.tasks.task import Task
from unsqueeze.training.rl_step import surrogate_loss
from unsqueeze.training.run import int32
from unsqueeze.training.setup import Parts
from unsqueeze.verify.verdict import Verdict, Verifier
from unsqueeze.verify.verifiers import make_verifier

NUM_GOLD_ANSWERS = 3
NUM_TOKENS = 4
"""Length of the one generation."""


def rehearse(recipe: Recipe, parts: Parts) -> None:
    """Try verifier, generation and loss. UserError or RunError saying what does not work.

    vLLM in this process takes long to start, and is tried by that: here the training weights stand in for it.
    """
    sampler = recipe.rollout
    if sampler.engine == "vllm":
        sampler = sampler.model_copy(update={"engine": "hf"})
    if parts.own.verifier is None:  # in which form one of the user's own wants an answer is not known
        with parts.policy.processes.agreeing(), closing(make_verifier(parts.task, recipe.verify)) as verifier:
            check_gold_answers(verifier, parts.data.train, recipe, parts.task)
    prompt = parts.prompts.tokens(parts.data.train[0])
    with closing(make_engine(sampler, parts.policy)) as engine, leaving_no_trace(parts.policy):
        engine.sync(parts.policy)
        completion = check_generation(engine, prompt, recipe)
        check_loss(parts.policy, parts.reference, prompt, completion, recipe)


def check_gold_answers(verifier: Verifier, problems: Sequence[Problem], recipe: Recipe, task: Task) -> None:
    """The first, a middle and the last problem's gold answers, given as responses, must be correct.

    UserError naming the problem if one is not: no answer to it could earn credit. RunError if the verifier is too slow.
    """
    places = {round(i * (len(problems) - 1) / (NUM_GOLD_ANSWERS - 1)) for i in range(NUM_GOLD_ANSWERS)}
    chosen = [problems[place] for place in sorted(places)]
    responses = [task.gold_response(problem, recipe.data) for problem in chosen]
    for problem, response, judgement in zip(chosen, responses, verifier.verify(chosen, responses), strict=True):
        found = (
            f"the gold answer of problem {problem.id}, {problem.answer[:80]!r}, was given to the verifier as the "
            f"response {response[:120]!r} and found {judgement.verdict} ({judgement.reason})"
        )
        if judgement.verdict is Verdict.TIMED_OUT:
            raise RunError(f"{found}; try again with more verify.timeout_s, and see what `unsqueeze doctor` says.")
        if judgement.verdict is not Verdict.CORRECT:
            raise UserError(
                f"{found}, so that no answer to it could earn credit. Correct the answers in the data (final answers "
                f"only, as a verifier can read them; they were taken from the field {recipe.data.answer_field!r}), or "
                f"leave that problem out."
            )


def check_generation(engine: Engine, prompt: Sequence[int], recipe: Recipe) -> Completion:
    """A few tokens sampled as in training. Raises whatever the engine does where it cannot."""
    settings = recipe.rollout
    sampling = Sampling(
        max_tokens=min(NUM_TOKENS, settings.max_tokens),
        temperature=settings.temperature,
        top_p=settings.top_p,
        top_k=settings.top_k,
        stop=settings.stop,
    )
    return engine.generate([prompt], 1, sampling, seeds=prompt_seeds(0, 1))[0][0]


def check_loss(
    policy: Policy, reference: Reference | None, prompt: Sequence[int], completion: Completion, recipe: Recipe
) -> None:
    """The loss of an RL step on one response, and its gradient. RunError if either is not finite."""
    settings = recipe.rl.surrogate
    row = Row(
        prompt_tokens=int32(prompt),
        tokens=completion.tokens,
        weight=1 / len(completion.tokens),
        advantage=1.0,
        logp_proximal=completion.logp_behaviour,
    )
    temperature = recipe.rollout.temperature
    if reference is not None:
        logp_ref = reference.logp([row], max_tokens=recipe.rl.tokens_per_microbatch, temperature=temperature)
        row = replace(row, logp_ref=logp_ref[0])
    batch = collate([row], pad=policy.pad, device=policy.device)
    logp_NT, entropy_NT = policy.logprobs(batch, temperature=temperature, with_entropy=settings.entropy_coefficient > 0)
    loss = surrogate_loss(logp_NT, entropy_NT, batch, settings=recipe.rl).loss
    loss.backward()
    gradients = [p.grad for _, p in policy.trainable() if p.grad is not None]
    norm = whole(torch.nn.utils.get_total_norm(gradients)).item()
    if not (math.isfinite(loss.item()) and math.isfinite(norm)):
        raise RunError(
            f"the loss of one response is {loss.item()} and its gradient norm {norm} before any training: the weights "
            f"of {recipe.model.path!r} are damaged, or model.compute_dtype {recipe.model.compute_dtype!r} overflows."
        )


@contextmanager
def leaving_no_trace(policy: Policy) -> Iterator[None]:
    """The random state of before is there again afterwards, and the policy has no gradients."""
    devices = [policy.device] if policy.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            policy.model.zero_grad(set_to_none=True)
