"""The vllm_server engine: rollouts from ``vllm serve``, one replica or several, here or on other machines.

Prompts go as token ids to ``/v1/completions`` and come back as token ids with vLLM's log-probs (temperature 1, whole
vocabulary). A sample is one request with a seed of its own, which depends on the seed of its prompt and its
number alone: which replica draws it changes nothing, up to the rounding of matrix products of another shape.

Weights go over by vLLM's own calls, which a server has when it is started with ``VLLM_SERVER_DEV_MODE=1``: they are
written to a folder that servers can read, every replica reloads them from there (``reload_weights``), forgets cached
prefixes of the old ones, and is given a name for them (``update_weight_version``). Each replica is asked for that name
before and after every generation: no rollout comes from other weights, not even after a server was started again.
"""

import itertools
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import httpx2
import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from unsqueeze.credentials import without_credentials
from unsqueeze.errors import RunError, UserError
from unsqueeze.policy.context import context_length
from unsqueeze.rollout.completions import Ended, check_request, completions_of
from unsqueeze.rollout.replicas import Replicas, Request, describe, json_object
from unsqueeze.rollout.served import ServedModel
from unsqueeze.rollout.served_answers import is_count, only_choice, stop_reason, token_logprobs
from unsqueeze.rollout.stops import StopStrings, end_token_ids
from unsqueeze.rollout.types import Completion, Sampling
from unsqueeze.seeds import derive_seed

NO_WEIGHTS_YET = -1
"""The policy version before the first ``sync``: what a server was started with is not relied upon."""
_SHARD_BYTES = 4 << 30


class Weights(Protocol):
    """The part of a policy under training that ``sync`` needs."""

    version: int

    def exported_weights(self) -> Iterable[tuple[str, Tensor]]: ...


class VllmServerEngine:
    """Implements ``Engine`` on servers that hold copies of the weights.

    ``name`` is the model's name there, None the only one they have. ``model`` and ``tokenizer`` are the policy's, asked
    only what ends a completion and how many tokens there are. Weights are written to ``folder`` in ``dtype``; None is a
    folder of this machine, which servers on others cannot read. UserError where a server is not of this kind.
    """

    def __init__(
        self,
        replicas: Replicas,
        name: str | None,
        model: nn.Module,
        tokenizer: Any,
        *,
        folder: Path | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._served = ServedModel.connect(replicas, name)
        self._replicas = replicas
        self._tokenizer = tokenizer
        self._end_ids = end_token_ids(model, tokenizer)
        embeddings: Any = model.get_input_embeddings()  # type: ignore[operator]
        self._vocabulary = int(embeddings.num_embeddings)
        self._context = min((c for c in (context_length(model), self._served.reported.context) if c), default=None)
        self._dtype = dtype
        _check_takes_weights(replicas)
        self._own_folder = folder is None
        self._folder = Path(tempfile.mkdtemp(prefix="unsqueeze-weights-")) if folder is None else folder
        self._run = uuid.uuid4().hex[:12]
        self._numbers = itertools.count()
        self._weights_path: Path | None = None
        self.policy_version: int | None = NO_WEIGHTS_YET

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        n: int,
        sampling: Sampling,
        *,
        seeds: Sequence[int],
        on_finished: Callable[[int], None] | None = None,
    ) -> list[list[Completion]]:
        """``n`` completions a prompt, in the order of ``prompts``. See ``Engine`` and the head of this module.

        A server that lost the weights (it was started again) is given them anew before; RunError if one has others
        afterwards.
        """
        check_request(prompts, n, sampling, vocabulary=self._vocabulary, context=self._context, engine="vllm_server")
        assert self.policy_version != NO_WEIGHTS_YET, "sync has handed no weights over yet"
        if self._lacking():
            self._push()
        tell = on_finished or (lambda count: None)
        # Every greedy answer to a prompt is the same one.
        drawn_of_each = 1 if sampling.temperature == 0 else n
        samples = [(prompt, index) for prompt in range(len(prompts)) for index in range(drawn_of_each)]
        requests = [
            self._request(prompts[prompt], sampling, seed=derive_seed(seeds[prompt], index))
            for prompt, index in samples
        ]
        ended: list[list[Ended | None]] = [[None] * drawn_of_each for _ in prompts]
        for number, reply in self._replicas.stream(requests, on_tick=lambda: tell(0)):
            prompt, index = samples[number]
            ended[prompt][index] = _ended(reply, sampling)
            tell(n // drawn_of_each)
        if lacking := self._lacking():
            raise RunError(
                f"{', '.join(lacking)} changed its weights while rollouts were drawn (it was started again, or another "
                "run uses it); what it gave is not used."
            )
        stops = StopStrings(self._tokenizer, sampling.stop)
        repeat = n // drawn_of_each
        return [
            completions_of([one for one in row if one] * repeat, self._tokenizer, stops, engine="vllm_server")
            for row in ended
        ]

    def sync(self, policy: Weights) -> None:
        """Give every replica the weights of ``policy``, unless this version of them is what they hold.

        Low-rank adapters arrive merged.
        """
        if policy.version == self.policy_version:
            return
        self.policy_version = NO_WEIGHTS_YET
        self._weights_path = self._folder / f"{self._run}-{policy.version}-{next(self._numbers)}"
        write_weights(self._weights_path, policy.exported_weights(), self._dtype)
        self._push()
        self.policy_version = policy.version
        self._remove_weights(keep=self._weights_path)

    def rest(self) -> None:
        """Give nothing back: the servers' memory is not the trainer's."""

    def close(self) -> None:
        """Remove the written weights. The servers stay up, with the last ones."""
        self._remove_weights()
        if self._own_folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _remove_weights(self, *, keep: Path | None = None) -> None:
        for path in self._folder.glob(f"{self._run}-*"):
            if path != keep:
                shutil.rmtree(path, ignore_errors=True)

    def _push(self) -> None:
        assert self._weights_path is not None
        reload = {"method": "reload_weights", "kwargs": {"weights_path": str(self._weights_path.resolve())}}
        self._tell_all("//collective_rpc", reload, "did not take the new weights")
        for response in self._tell_all("//reset_prefix_cache", None, "kept cached prefixes of the old weights"):
            if (json_object(response) or {}).get("success") is not True:
                raise RunError(f"{_where(response)} kept cached prefixes of the old weights; does another run use it?")
        self._tell_all("//update_weight_version", {"new_version": self._version_name()}, "takes no name for weights")
        if lacking := self._lacking():
            raise RunError(f"{', '.join(lacking)} does not say that it has the new weights.")

    def _lacking(self) -> list[str]:
        """The servers that do not hold the present weights."""
        return [
            _where(response)
            for response in self._tell_all("//weight_info", None, "does not say which weights it has", method="GET")
            if (json_object(response) or {}).get("weight_version") != self._version_name()
        ]

    def _version_name(self) -> str:
        assert self._weights_path is not None
        return self._weights_path.name

    def _tell_all(
        self, path: str, body: dict[str, Any] | None, failure: str, *, method: str = "POST"
    ) -> list[httpx2.Response]:
        responses = self._replicas.send_to_all(method, path, body)
        for response in responses:
            if response.status_code >= 400:
                raise RunError(f"a server {failure}: {describe(response)}.")
        return responses

    def _request(self, prompt: Sequence[int], sampling: Sampling, *, seed: int) -> Request:
        """One sample. Every setting is named: a server's own defaults come from the model's generation config."""
        body = {
            "model": self._served.name,
            "prompt": [int(token) for token in prompt],
            "n": 1,
            "max_tokens": sampling.max_tokens,
            # Ours counts the end token, vLLM's the tokens before it.
            "min_tokens": max(0, sampling.min_tokens - 1),
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "seed": seed >> 1,
            "stop": list(sampling.stop),
            "stop_token_ids": [*self._end_ids, *sampling.end_ids],
            "skip_special_tokens": False,
            "logprobs": 0,
            "return_token_ids": True,
        }
        return Request("/completions", body)


def write_weights(folder: Path, weights: Iterable[tuple[str, Tensor]], dtype: torch.dtype) -> None:
    """Write weights as safetensors into a new ``folder``, at most about 4 GiB a file. RunError if that fails."""
    try:
        folder.mkdir(parents=True)
        shard: dict[str, Tensor] = {}
        size, number = 0, 0
        for name, weight in weights:
            weight = weight.detach().to("cpu", dtype if weight.is_floating_point() else None, copy=True).contiguous()
            if shard and size + weight.nbytes > _SHARD_BYTES:
                save_file(shard, folder / f"model-{number:05d}.safetensors", metadata={"format": "pt"})
                shard, size, number = {}, 0, number + 1
            shard[name] = weight
            size += weight.nbytes
        save_file(shard, folder / f"model-{number:05d}.safetensors", metadata={"format": "pt"})
    except OSError as error:
        raise RunError(f"the weights for the servers could not be written to {folder}: {error}.") from error


def _check_takes_weights(replicas: Replicas) -> None:
    for response in replicas.send_to_all("GET", "//weight_info"):
        if response.status_code >= 400 or "weight_version" not in response.text:
            raise UserError(
                f"the server {_where(response)} takes no weights; start it as VLLM_SERVER_DEV_MODE=1 vllm serve … "
                "with vLLM 0.32 (docs/engines.md has the whole line)."
            )


def _ended(reply: dict[str, Any], sampling: Sampling) -> Ended:
    """One response of a server's. ``logp_behaviour`` is NaN where it is not ``logp_raw``: servers do not give it.

    RunError where tokens or log-probs are lacking.
    """
    choice = only_choice(reply)
    tokens, logp = choice.get("token_ids"), token_logprobs(choice.get("logprobs"))
    if not isinstance(tokens, list) or not all(map(is_count, tokens)) or logp is None or len(logp) != len(tokens):
        raise RunError(
            "a server's answer has no token ids with a log-prob each; was it started with vLLM 0.32, and with "
            "--logprobs-mode raw_logprobs (its default)?"
        )
    if choice.get("finish_reason") not in ("stop", "length"):
        raise RunError(f"a server ended a response with reason {choice.get('finish_reason')!r}.")
    logp_raw = np.asarray(logp, dtype=np.float32)
    one_logp = sampling.temperature in (0, 1)
    return Ended(
        tokens=np.asarray(tokens, dtype=np.int32),
        logp_raw=logp_raw,
        logp_behaviour=logp_raw if one_logp else np.full_like(logp_raw, np.nan),
        reason=stop_reason(choice),
    )


def _where(response: httpx2.Response) -> str:
    url = httpx2.URL(without_credentials(str(response.request.url)))
    return str(url.copy_with(path="/", query=None)).rstrip("/")
