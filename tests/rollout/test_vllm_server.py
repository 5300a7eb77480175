"""The vllm_server engine against a double of ``vllm serve``: whose weights, which replica, what when one fails."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from openai_server import OpenAiServer, choice, serving
from small_runs import random_recipe, run_to_end, weights
from tiny_models import random_countdown
from unsqueeze.config.load import check_recipe
from unsqueeze.config.model_settings import ModelSettings
from unsqueeze.errors import RunError, UserError
from unsqueeze.policy.policy import Policy
from unsqueeze.rollout.hf import HfEngine
from unsqueeze.rollout.replicas import Patience, Replicas
from unsqueeze.rollout.types import Completion, Sampling, StopReason
from unsqueeze.rollout.vllm_server import NO_WEIGHTS_YET, VllmServerEngine, _ended, write_weights
from unsqueeze.seeds import prompt_seeds
from unsqueeze.tasks.countdown import countdown_problems
from unsqueeze.training.same_run import check_same_run
from vllm_double import VllmDouble, serving_vllm

QUICK = Patience(first_wait_s=0.01, attempts=3)
SETTINGS = ModelSettings(device="cpu")


@pytest.fixture
def policy() -> Policy:
    return Policy.load(SETTINGS)


@contextmanager
def two_servers(settings: ModelSettings) -> Iterator[list[tuple[VllmDouble, OpenAiServer]]]:
    """Each with weights that are nobody's."""
    with ExitStack() as stack:
        made = []
        for _ in range(2):
            loaded = Policy.load(settings)
            double = VllmDouble(loaded.model, loaded.tokenizer)
            double.restart()
            made.append((double, stack.enter_context(serving_vllm(double))))
        yield made


@pytest.fixture
def replicas() -> Iterator[list[tuple[VllmDouble, OpenAiServer]]]:
    with two_servers(SETTINGS) as made:
        yield made


def engine_on(replicas: list[tuple[VllmDouble, OpenAiServer]], policy: Policy, folder: Path) -> VllmServerEngine:
    urls = [server.url for _, server in replicas]
    return VllmServerEngine(
        Replicas(urls, concurrency=4, patience=QUICK), "tiny", policy.model, policy.tokenizer, folder=folder
    )


def prompts_of(policy: Policy, count: int) -> list[list[int]]:
    problems, _ = countdown_problems(count, 0, 0)
    return [policy.tokenizer(problem.prompt)["input_ids"] for problem in problems]


def flat(groups: list[list[Completion]]) -> list[Completion]:
    return [completion for group in groups for completion in group]


def same(one: Completion, other: Completion) -> bool:
    return (
        one.tokens.tolist() == other.tokens.tolist()
        and one.text == other.text
        and one.stop_reason is other.stop_reason
        and np.allclose(one.logp_raw, other.logp_raw, atol=1e-5)
    )


def test_greedy_is_that_of_the_weights_handed_over_before_and_after_a_step(replicas, policy: Policy, tmp_path: Path):
    engine, hf = engine_on(replicas, policy, tmp_path / "w"), HfEngine(policy.model, policy.tokenizer)
    assert engine.policy_version == NO_WEIGHTS_YET
    prompts, greedy = prompts_of(policy, 6), Sampling(max_tokens=20, temperature=0.0)
    said = []
    for version in (0, 1):
        policy.version = version
        engine.sync(policy)
        assert engine.policy_version == version
        ours = engine.generate(prompts, 2, greedy, seeds=prompt_seeds(0, len(prompts)))
        theirs = hf.generate(prompts, 2, greedy, seeds=prompt_seeds(0, len(prompts)))
        assert all(same(one, other) for one, other in zip(flat(ours), flat(theirs), strict=True))
        said.append([completion.text for completion in flat(ours)])
        engine.sync(policy)  # nothing new
        assert [double.reloads for double, _ in replicas] == [version + 1] * 2
        # The servers have read them; older ones are gone.
        assert len(list((tmp_path / "w").iterdir())) == 1
        with torch.no_grad():
            for _, parameter in policy.trainable():
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    assert said[0] != said[1]
    # Each replica had its share; six prompts of one greedy request.
    assert all(len(server.bodies("/v1/completions")) >= 2 for _, server in replicas)
    assert sum(len(server.bodies("/v1/completions")) for _, server in replicas) == 12
    engine.close()
    assert not list((tmp_path / "w").iterdir())


def test_samples_do_not_depend_on_the_replica_and_end_as_they_should(replicas, policy: Policy, tmp_path: Path):
    prompts = prompts_of(policy, 3)
    both, one = engine_on(replicas, policy, tmp_path / "a"), engine_on(replicas[:1], policy, tmp_path / "b")
    both.sync(policy)
    ticks: list[int] = []
    drawn = both.generate(
        prompts, 4, Sampling(max_tokens=16), seeds=prompt_seeds(5, len(prompts)), on_finished=ticks.append
    )
    assert sum(ticks) == 12
    assert [len(group) for group in drawn] == [4, 4, 4]
    one.sync(policy)
    again = one.generate(prompts, 4, Sampling(max_tokens=16), seeds=prompt_seeds(5, len(prompts)))
    assert all(same(a, b) for a, b in zip(flat(drawn), flat(again), strict=True))
    assert len({completion.text for completion in flat(drawn)}) > 3
    assert all(completion.logp_behaviour is completion.logp_raw for completion in flat(drawn))
    other = one.generate(prompts, 4, Sampling(max_tokens=16), seeds=prompt_seeds(6, len(prompts)))
    assert [c.text for c in flat(other)] != [c.text for c in flat(again)]

    stopped = flat(one.generate(prompts, 2, Sampling(max_tokens=16, stop=("=",)), seeds=prompt_seeds(5, len(prompts))))
    assert {completion.stop_reason for completion in stopped} == {StopReason.STOP}
    assert all("=" not in completion.text for completion in stopped)
    assert all("=" in policy.tokenizer.decode(completion.tokens) for completion in stopped)
    cool = flat(one.generate(prompts, 1, Sampling(max_tokens=8, temperature=0.7), seeds=prompt_seeds(5, len(prompts))))
    assert all(np.isnan(completion.logp_behaviour).all() for completion in cool)
    assert all(np.isfinite(completion.logp_raw).all() for completion in cool)
    body = replicas[0][1].bodies("/v1/completions")[-1]
    assert (body["top_k"], body["repetition_penalty"], body["stop_token_ids"]) == (0, 1.0, [2])


def test_a_server_started_again_gets_the_weights_and_one_that_changes_under_way_is_found_out(
    replicas, policy: Policy, tmp_path: Path
):
    engine = engine_on(replicas, policy, tmp_path / "w")
    prompts, greedy = prompts_of(policy, 2), Sampling(max_tokens=12, temperature=0.0)
    with pytest.raises(AssertionError, match="sync has handed no weights over"):
        engine.generate(prompts, 1, greedy, seeds=prompt_seeds(0, len(prompts)))
    engine.sync(policy)
    first = engine.generate(prompts, 1, greedy, seeds=prompt_seeds(0, len(prompts)))
    double, server = replicas[1]
    double.restart()
    assert all(
        same(a, b)
        for a, b in zip(
            flat(engine.generate(prompts, 1, greedy, seeds=prompt_seeds(0, len(prompts)))), flat(first), strict=True
        )
    )
    assert double.reloads == 2

    def lose_weights(count: int) -> None:
        double.version = "default"

    with pytest.raises(RunError, match=rf"{server.url.removesuffix('/v1')} changed its weights while"):
        engine.generate(prompts, 1, greedy, seeds=prompt_seeds(0, len(prompts)), on_finished=lose_weights)
    # Another run on the same servers is noticed too.
    other = engine_on(replicas[1:], policy, tmp_path / "other")
    engine.generate(prompts, 1, greedy, seeds=prompt_seeds(0, len(prompts)))
    with pytest.raises(RunError, match="changed its weights"):
        engine.generate(
            prompts, 1, greedy, seeds=prompt_seeds(0, len(prompts)), on_finished=lambda count: other.sync(policy)
        )


def test_failures_are_told_in_a_sentence(replicas, policy: Policy, tmp_path: Path):
    engine = engine_on(replicas, policy, tmp_path / "w")
    replicas[0][0].failure = (500, {"error": {"message": "no room"}})
    with pytest.raises(RunError, match=r"does not say which weights|did not take the new weights: .*500: no room"):
        engine.sync(policy)
    assert engine.policy_version == NO_WEIGHTS_YET
    replicas[0][0].failure = None
    engine.sync(policy)
    with pytest.raises(UserError, match="vllm_server engine: prompt 0 has 3 tokens and max_tokens is 126"):
        engine.generate([[1, 2, 3]], 1, Sampling(max_tokens=126), seeds=prompt_seeds(0, 1))
    with (
        serving(lambda path, body: (200, choice("x")), models=[{"id": "tiny"}]) as plain,
        pytest.raises(UserError, match="takes no weights; start it as VLLM_SERVER_DEV_MODE=1 vllm serve"),
    ):
        VllmServerEngine(Replicas([plain.url]), None, policy.model, policy.tokenizer)
    with pytest.raises(RunError, match="could not be written"):
        write_weights(tmp_path / "w", [], torch.float32)


def test_weights_are_written_as_a_checkpoint_holds_them(policy: Policy, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("unsqueeze.rollout.vllm_server._SHARD_BYTES", 100_000)
    write_weights(tmp_path / "w", policy.exported_weights(), torch.bfloat16)
    files = sorted((tmp_path / "w").glob("*.safetensors"))
    assert len(files) > 3
    found = {name: weight for file in files for name, weight in load_file(file).items()}
    expected = dict(policy.exported_weights())
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name].to(torch.bfloat16)) for name in expected)


@pytest.fixture
def random_replicas() -> Iterator[list[tuple[VllmDouble, OpenAiServer]]]:
    with two_servers(ModelSettings(path=str(random_countdown()), device="cpu")) as made:
        yield made


@pytest.mark.usefixtures("judged_by_hash")
def test_a_run_through_servers(random_replicas, tmp_path: Path):
    urls = [server.url for _, server in random_replicas]
    recipe = random_recipe(
        data={"num_test": 2},
        rl={"steps": 3},
        evaluation={"n": 1},
        rollout={"engine": "vllm_server", "server": {"urls": urls}},
        checkpoint={"every_steps": None},
    )
    run, reports = run_to_end(recipe, tmp_path / "run")
    # Two RL steps, an IRL phase of two updates, an RL step.
    assert run.policy.version == 5
    assert [report.kind for report in reports] == ["rl", "irl", "rl"]
    versions = [
        {rollout.policy_version for group in run.directory.rollouts.read(step) for rollout in group.rollouts}
        for step in (1, 2, 3)
    ]
    assert versions == [{0}, {1}, {4}]
    for double, _ in random_replicas:
        held = dict(double.model.named_parameters())
        assert all(torch.equal(held[name], weight) for name, weight in weights(run).items())
    # It may go on with other servers.
    moved = recipe.model_dump(mode="json")
    moved["rollout"]["server"] |= {"urls": urls[:1], "weights_folder": str(tmp_path)}
    check_same_run(run.directory, check_recipe(moved, "test"), run.directory.info["data"])
    gaps = [record["sampler_gap"] for record in run.directory.metrics.read() if record["kind"] == "rl"]
    assert len(gaps) == 3
    assert max(gaps) < 1e-5


def test_recipes_that_do_not_fit_are_refused():
    raw = {"name": "x", "rollout": {"engine": "vllm_server"}}
    with pytest.raises(UserError, match=r"rollout\.server\.urls must name one server"):
        check_recipe(raw, "test")
    cool = {"engine": "vllm_server", "temperature": 0.7, "server": {"urls": ["http://h"]}}
    with pytest.raises(UserError, match="log-probs at temperature 1 only"):
        check_recipe({"name": "x", "rollout": cool}, "test")
    check_recipe({"name": "x", "rollout": cool, "rl": {"sampler_correction": "none"}}, "test")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "no token ids with a log-prob each; was it started with vLLM 0.32, and with --logprobs-mode raw_logprobs"),
        ({"token_ids": [5]}, "no token ids with a log-prob each"),
        ({"token_ids": [5, True]}, "no token ids with a log-prob each"),
        ({"token_ids": [5, 6], "finish_reason": "abort"}, "a server ended a response with reason 'abort'"),
    ],
)
def test_an_answer_that_nothing_can_be_trained_on_is_refused(given: dict[str, Any], message: str):
    whole = _ended(choice("so", [-1.0, -2.0], token_ids=[5, 6]), Sampling(max_tokens=4))
    assert (whole.tokens.tolist(), whole.logp_raw.tolist()) == ([5, 6], [-1.0, -2.0])
    with pytest.raises(RunError, match=message):
        _ended(choice("so", [-1.0, -2.0], **given), Sampling(max_tokens=4))
