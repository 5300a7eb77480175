"""The vllm engine against the real vLLM on a CPU: `make test-vllm` installs it and runs these.

The model is the one that ships, with wider heads (``wide_heads``): real text, real ends, and small enough that loading
vLLM is what costs. One engine serves all tests of generation; those that move weights come last and say so.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM

from small_runs import prepare, small_recipe
from unsqueeze.config.model_settings import ModelSettings
from unsqueeze.config.rollout_settings import VllmSettings
from unsqueeze.errors import UserError
from unsqueeze.models import embedded_model_path
from unsqueeze.policy.batch import Row
from unsqueeze.policy.policy import Policy
from unsqueeze.rollout.hf import HfEngine
from unsqueeze.rollout.types import Completion, Engine, Sampling, StopReason
from unsqueeze.seeds import prompt_seeds
from unsqueeze.tasks.countdown import countdown_problems
from unsqueeze.training.loop import train
from wide_heads import save_wide

pytestmark = [
    pytest.mark.vllm,
    # vLLM's own warnings, and those of what it imports, are not ours to mend.
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint that ships, with heads of 32."""
    path = tmp_path_factory.mktemp("wide")
    model = LlamaForCausalLM.from_pretrained(embedded_model_path(), dtype=torch.float32)
    wide = save_wide(path)
    tokens = torch.tensor([[1, 30, 40, 50, 60, 20, 9, 11, 100, 31]])
    with torch.no_grad():
        torch.testing.assert_close(wide(tokens).logits, model(tokens).logits, rtol=1e-4, atol=1e-4)
    return path


@pytest.fixture(scope="module")
def policy(folder: Path) -> Policy:
    return Policy.load(ModelSettings(path=str(folder), device="cpu"))


@pytest.fixture(scope="module")
def engine(folder: Path, policy: Policy) -> Iterator[Any]:
    from unsqueeze.rollout.vllm_engine import VllmEngine

    threads = torch.get_num_threads()
    made = VllmEngine(str(folder), policy.model, policy.tokenizer, VllmSettings(kv_cache_gib=0.25), dtype=torch.float32)
    assert torch.get_num_threads() == threads
    torch.set_num_threads(threads)  # and setting them still works
    yield made
    made.close()


@pytest.fixture(scope="module")
def prompts(policy: Policy) -> list[list[int]]:
    problems, _ = countdown_problems(6, 0, 0)
    return [policy.tokenizer(problem.prompt)["input_ids"] for problem in problems]


def flat(groups: list[list[Completion]]) -> list[Completion]:
    return [completion for group in groups for completion in group]


def tokens_of(groups: list[list[Completion]]) -> list[list[int]]:
    return [completion.tokens.tolist() for completion in flat(groups)]


def scored(policy: Policy, prompts: list[list[int]], groups: list[list[Completion]], temperature: float) -> np.ndarray:
    """The trainer's log-probs of all tokens, laid end to end."""
    rows = [
        Row(prompt_tokens=np.array(prompt, dtype=np.int32), tokens=completion.tokens, weight=0.0)
        for prompt, group in zip(prompts, groups, strict=True)
        for completion in group
    ]
    return np.concatenate(policy.logp(rows, max_tokens=8192, temperature=temperature))


def test_greedy_answers_and_their_logprobs_are_the_hf_engines(
    engine: Engine, policy: Policy, prompts: list[list[int]]
) -> None:
    sampling = Sampling(max_tokens=24, temperature=0.0)
    ours = engine.generate(prompts, 2, sampling, seeds=prompt_seeds(0, len(prompts)))
    theirs = HfEngine(policy.model, policy.tokenizer).generate(
        prompts, 2, sampling, seeds=prompt_seeds(0, len(prompts))
    )
    assert tokens_of(ours) == tokens_of(theirs)
    assert [c.text for c in flat(ours)] == [c.text for c in flat(theirs)]
    assert [c.stop_reason for c in flat(ours)] == [c.stop_reason for c in flat(theirs)]
    assert StopReason.EOS in {c.stop_reason for c in flat(ours)}
    for mine, other in zip(flat(ours), flat(theirs), strict=True):
        np.testing.assert_allclose(mine.logp_raw, other.logp_raw, atol=1e-4)
        assert mine.logp_behaviour is mine.logp_raw


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_logprobs_agree_with_the_trainers(
    engine: Engine, policy: Policy, prompts: list[list[int]], temperature: float
) -> None:
    # top_k and top_p cut what may be drawn, and leave the log-probs over the whole vocabulary.
    sampling = Sampling(max_tokens=24, temperature=temperature, top_k=40, top_p=0.98)
    groups = engine.generate(prompts, 4, sampling, seeds=prompt_seeds(1, len(prompts)))
    for at, name in ((1.0, "logp_raw"), (temperature, "logp_behaviour")):
        found = np.concatenate([getattr(completion, name) for completion in flat(groups)])
        gaps = np.abs(found - scored(policy, prompts, groups, at))
        assert gaps.mean() < 1e-3
        assert gaps.max() < 1e-2


def test_draws_depend_on_seed_and_place_alone(engine: Engine, prompts: list[list[int]]) -> None:
    sampling = Sampling(max_tokens=16)
    finished: list[int] = []
    first = tokens_of(
        engine.generate(prompts, 3, sampling, seeds=prompt_seeds(5, len(prompts)), on_finished=finished.append)
    )
    assert sum(finished) == 3 * len(prompts)
    assert tokens_of(engine.generate(prompts, 3, sampling, seeds=prompt_seeds(5, len(prompts)))) == first
    assert tokens_of(engine.generate(prompts[:2], 3, sampling, seeds=prompt_seeds(5, len(prompts[:2])))) == first[:6]
    assert tokens_of(engine.generate(prompts, 3, sampling, seeds=prompt_seeds(6, len(prompts)))) != first
    assert len({tuple(tokens) for tokens in first[:3]}) > 1, "the rollouts of a prompt are draws of their own"


def test_frequencies_are_those_of_the_policy(engine: Engine, policy: Policy, prompts: list[list[int]]) -> None:
    # The first token of 512 draws against the exact distribution: total variation of a sample of that size is small.
    drawn = [
        c.tokens[0]
        for c in flat(
            engine.generate(prompts[:1], 512, Sampling(max_tokens=1), seeds=prompt_seeds(2, len(prompts[:1])))
        )
    ]
    with torch.no_grad():
        exact = policy.model(torch.tensor(prompts[:1])).logits[0, -1].softmax(-1).numpy()
    found = np.bincount(drawn, minlength=len(exact)) / len(drawn)
    assert 0.5 * np.abs(found - exact).sum() < 0.1


def test_limits_stop_strings_and_least_lengths(engine: Engine, policy: Policy, prompts: list[list[int]]) -> None:
    plain = flat(
        engine.generate(prompts, 1, Sampling(max_tokens=24, temperature=0.0), seeds=prompt_seeds(0, len(prompts)))
    )
    short = flat(
        engine.generate(prompts, 1, Sampling(max_tokens=3, temperature=0.0), seeds=prompt_seeds(0, len(prompts)))
    )
    assert [c.tokens.tolist() for c in short] == [c.tokens.tolist()[:3] for c in plain]
    assert {c.stop_reason for c in short} == {StopReason.LENGTH}
    for sampling in (
        Sampling(max_tokens=24, temperature=0.0, stop=("=",)),
        Sampling(max_tokens=24, temperature=0.0, stop=("=",), min_tokens=8),
        Sampling(max_tokens=40, temperature=0.0, min_tokens=22),
    ):
        ours = engine.generate(prompts, 1, sampling, seeds=prompt_seeds(0, len(prompts)))
        theirs = HfEngine(policy.model, policy.tokenizer).generate(
            prompts, 1, sampling, seeds=prompt_seeds(0, len(prompts))
        )
        assert tokens_of(ours) == tokens_of(theirs)
        assert [(c.text, c.stop_reason) for c in flat(ours)] == [(c.text, c.stop_reason) for c in flat(theirs)]
        assert all(len(c.tokens) >= sampling.min_tokens for c in flat(ours))
    stopped = flat(
        engine.generate(
            prompts, 1, Sampling(max_tokens=24, temperature=0.0, stop=("=",)), seeds=prompt_seeds(0, len(prompts))
        )
    )
    assert {c.stop_reason for c in stopped} == {StopReason.STOP}
    assert not any("=" in c.text for c in stopped)


def test_a_stop_asked_for_leaves_the_engine_usable(engine: Engine, prompts: list[list[int]]) -> None:
    expected = tokens_of(engine.generate(prompts, 2, Sampling(max_tokens=12), seeds=prompt_seeds(9, len(prompts))))

    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine.generate(prompts, 2, Sampling(max_tokens=12), seeds=prompt_seeds(9, len(prompts)), on_finished=stop)
    assert (
        tokens_of(engine.generate(prompts, 2, Sampling(max_tokens=12), seeds=prompt_seeds(9, len(prompts)))) == expected
    )


def test_what_does_not_fit_is_one_sentence(engine: Engine, prompts: list[list[int]]) -> None:
    with pytest.raises(UserError, match=r"vllm engine: prompt 0 .* context of 128; lower max_tokens"):
        engine.generate(prompts, 1, Sampling(max_tokens=128), seeds=prompt_seeds(0, len(prompts)))


def test_new_weights_change_the_answers_as_the_hf_engine_says(
    engine: Engine, policy: Policy, prompts: list[list[int]]
) -> None:
    """Moves the weights: every test after it sees others."""
    sampling = Sampling(max_tokens=24, temperature=0.0)
    hf = HfEngine(policy.model, policy.tokenizer)
    before = tokens_of(engine.generate(prompts, 1, sampling, seeds=prompt_seeds(0, len(prompts))))
    generator = torch.Generator().manual_seed(0)
    for version in (1, 2):
        with torch.no_grad():
            for _, parameter in policy.trainable():
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.15 * parameter.std())
        policy.version = version
        wanted = tokens_of(hf.generate(prompts, 1, sampling, seeds=prompt_seeds(0, len(prompts))))
        assert wanted != before
        assert tokens_of(engine.generate(prompts, 1, sampling, seeds=prompt_seeds(0, len(prompts)))) == before, (
            "stale until it is told"
        )
        engine.sync(policy)
        assert engine.policy_version == version
        assert tokens_of(engine.generate(prompts, 1, sampling, seeds=prompt_seeds(0, len(prompts)))) == wanted
        before = wanted
    groups = engine.generate(prompts, 4, Sampling(max_tokens=24), seeds=prompt_seeds(3, len(prompts)))
    found = np.concatenate([completion.logp_raw for completion in flat(groups)])
    assert np.abs(found - scored(policy, prompts, groups, 1.0)).mean() < 1e-3


@pytest.mark.parametrize("lora", [None, {"rank": 4}], ids=["full", "lora"])
def test_rl_and_irl_steps_each_sample_from_what_the_last_one_left(
    folder: Path, tmp_path: Path, lora: dict[str, int] | None
) -> None:
    recipe = small_recipe(
        model={"path": str(folder), "device": "cpu", "lora": lora},
        rollout={"max_tokens": 24, "engine": "vllm", "temperature": 0.9, "vllm": {"kv_cache_gib": 0.25}},
        rl={"steps": 3, "prompts_per_step": 4, "group_size": 4},
        irl={"every_steps": 2, "steps": 2},
        evaluation={"n": 2},
        checkpoint={"every_steps": None},
    )
    run, reference = prepare(recipe, tmp_path / "run")
    hf = HfEngine(run.policy.model, run.policy.tokenizer)
    generate = run.engine.generate
    compared: list[int] = []

    def checked(prompts: Any, n: int, sampling: Sampling, **options: Any) -> Any:
        """Every greedy answer of the run is the one of the training weights at that moment."""
        groups = generate(prompts, n, sampling, **options)
        if sampling.temperature == 0:
            assert run.engine.policy_version == run.policy.version
            assert tokens_of(groups) == tokens_of(hf.generate(prompts, n, sampling, **options))
            compared.append(run.policy.version)
        return groups

    run.engine.generate = checked  # type: ignore[method-assign]
    train(run, reference=reference)
    run.engine.close()
    run.verifier.close()
    versions = {
        step: {r.policy_version for group in run.directory.rollouts.read(step) for r in group.rollouts}
        for step in run.directory.rollouts.steps()
    }
    lines = run.directory.metrics.read()
    rl = [line for line in lines if line["kind"] == "rl"]
    assert [line["kind"] for line in lines] == ["rl", "rl", "irl", "irl", "rl"]
    # Two RL steps, two IRL updates, one RL step; a step without an informative group moves nothing.
    moved = [line["policy_version"] for line in rl]
    assert versions == {1: {0}, 2: {moved[0]}, 3: {moved[1] + 2}}
    assert moved[-1] > 2
    assert len(set(compared)) > 2
    assert all(line["sampler_gap"] < 1e-3 and line["sampler_truncated"] == 0 for line in rl)
    run.directory.close()


def test_eval_samples_through_it(folder: Path, tmp_path: Path, command: Callable[..., tuple[int, str, str]]) -> None:
    out = tmp_path / "eval"
    options = ["--task", "countdown", "--limit", "4", "--n", "2", "--engine", "vllm", "--out", str(out)]
    code, _, errors = command("eval", str(folder), *options)
    assert code == 0, errors
    summary = json.loads((out / "summary.json").read_text())
    assert summary["engine"] == "vllm"
    assert summary["num_drawn_now"] == 8
    assert 0 < summary["benchmarks"]["countdown"]["avg"] <= 1


def test_heads_the_kernels_do_not_know_are_an_error_that_says_so() -> None:
    from unsqueeze.rollout.vllm_engine import VllmEngine

    policy = Policy.load(ModelSettings(device="cpu"))
    with pytest.raises(UserError, match="have 24 dimensions, and vLLM's kernels for CPUs know 32"):
        VllmEngine(str(embedded_model_path()), policy.model, policy.tokenizer, VllmSettings(), dtype=torch.float32)
