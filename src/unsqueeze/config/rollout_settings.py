"""Sampling of answers for training, and their judging."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_serializer, model_validator

from unsqueeze.config.settings import Settings
from unsqueeze.credentials import without_credentials
from unsqueeze.extensions import ENGINES, VERIFIERS


class VllmSettings(Settings):
    gpu_memory_utilization: float = Field(0.4, gt=0, lt=1)
    """The share of the GPU's memory for vLLM's weights and KV cache, while it is awake."""
    kv_cache_gib: float | None = Field(None, gt=0)
    """Memory of the KV cache; null: on a GPU what the share above leaves, on a CPU 1 GiB."""
    dtype: Literal["float32", "bfloat16"] | None = None
    """Precision of vLLM's copy of the weights; null: model.compute_dtype."""
    max_model_len: int | None = Field(None, ge=1)
    """Longest prompt with its response, in tokens; null: the model's context."""
    enforce_eager: bool = False
    """Start without compiling and without CUDA graphs: at once, and slower afterwards. Always so on a CPU."""
    sleep: bool = True
    """On a GPU: hand vLLM's memory back while training. Off: faster steps where both fit side by side."""


class ServerSettings(Settings):
    urls: tuple[str, ...] = ()
    """The API base of every replica of `vllm serve`, such as http://node1:8000/v1. A key is taken from the environment
    variable UNSQUEEZE_API_KEY; name:password@ before the host is sent, and stands in no record."""
    model: str | None = None
    """The name of the model there; null: the only one there is."""
    weights_folder: str | None = None
    """The folder in which new weights are written for the servers to read; shared by all machines. Null: a temporary
    folder, which does where all run on this machine.
    """
    dtype: Literal["float32", "bfloat16"] | None = None
    """Precision of the written weights; null: model.compute_dtype."""
    timeout_s: float = Field(1800.0, gt=0)
    """Seconds a server may take over one response, or over new weights."""

    @field_serializer("urls", when_used="json")
    def _no_passwords(self, urls: tuple[str, ...]) -> list[str]:
        """Leave names and passwords out of what is written down; the settings in memory keep them."""
        return [without_credentials(url) for url in urls]

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, tuple(map(without_credentials, self.urls)) if name == "urls" else value


class RolloutSettings(Settings):
    engine: str = "hf"
    """The engine that samples: `hf`, the training weights themselves; `vllm`, vLLM in the same process with a copy of
    them; `vllm_server`, one or more `vllm serve`, here or elsewhere; or package.module:function of your own.
    """
    vllm: VllmSettings = VllmSettings()
    """Settings of the vllm engine alone."""
    server: ServerSettings = ServerSettings()
    """Settings of the vllm_server engine alone."""
    temperature: float = Field(1.0, gt=0)
    """Temperature of the training rollouts (1.0 in the paper)."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Nucleus that is sampled from; 1: no cut."""
    top_k: int = Field(0, ge=0)
    """Most likely tokens that are sampled from; 0: no cut."""
    max_tokens: int = Field(24, ge=1)
    """Longest response, in tokens."""
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Texts that end a response, beside its end tokens."""
    end_tokens: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Tokens that end a response, by their text, such as <end_of_turn>: beside those that the model declares and the
    one that ends the assistant's turn in its chat template, which always do."""
    max_rows: int = Field(256, ge=1)
    """Number of responses that are generated side by side; bounds the memory of the KV cache."""

    @model_validator(mode="after")
    def _engine_is_known(self) -> Self:
        ENGINES.check(self.engine)
        return self


class VerifySettings(Settings):
    workers: int = Field(2, ge=1)
    """Processes that judge mathematical answers. Countdown is checked in place."""
    timeout_s: float = Field(10.0, gt=0)
    """Deadline of one answer; a worker past it is killed, and the answer counts as wrong (`timed_out`)."""
    credit: Literal["boxed", "final_answer", "anywhere"] = "anywhere"
    """The places in which an answer may stand to earn credit: the last `\\boxed{}`, a box or a phrase that announces
    it, or anywhere.
    """
    memory_mb: int = Field(320, ge=192)
    """Address space of a worker, MB."""
    max_unreadable: float = Field(0.01, ge=0, le=1)
    """Largest share of the problems whose gold answer may be unreadable; with more, training does not start."""
    verifier: str | None = None
    """Verifier: a name (docs/verify.md), or package.module:function of your own; null: the task's own."""

    @model_validator(mode="after")
    def _verifier_is_known(self) -> Self:
        if self.verifier is not None:
            VERIFIERS.check(self.verifier)
        return self
