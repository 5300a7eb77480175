"""The policy: a causal language model with fp32 weights, its tokenizer, and the log-probs it gives."""

import contextlib
import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AutoTokenizer, PreTrainedModel

from unsqueeze.config.model_settings import ModelSettings
from unsqueeze.cost.memory import TOKENS_AT_ONCE_ON_CPU
from unsqueeze.device_errors import device_errors
from unsqueeze.distributed.processes import ONE, Processes
from unsqueeze.distributed.sharding import gathered, piece, shard, whole
from unsqueeze.errors import UserError
from unsqueeze.models import EMBEDDED_MODEL, LARGER_MODEL, shipped_folder
from unsqueeze.policy.adapters import adapter_base, adapter_weights, add_adapters, put_adapter
from unsqueeze.policy.batch import Row, TokenBatch, collate, in_order, logp_of_rows, own_microbatches, rows_of
from unsqueeze.policy.context import context_length
from unsqueeze.policy.export import exported_weights
from unsqueeze.policy.forward import TokenLogprobs
from unsqueeze.policy.freed_memory import keep_freed_memory
from unsqueeze.policy.loading import load_pretrained, model_errors
from unsqueeze.policy.recomputing import recompute_activations
from unsqueeze.policy.saving import save_pretrained

LESS_MEMORY = (
    "Lower rl.tokens_per_microbatch (tokens_per_microbatch of an IRL phase by itself; on a CPU below 4096); a run may "
    "be resumed with another one."
)

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class Policy:
    """A model under training.

    ``version`` counts the optimizer steps, RL and IRL, that the weights have behind them. Dropout is off throughout:
    the policy that is trained must be the policy that sampled.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: Any,
        *,
        compute_dtype: torch.dtype = torch.float32,
        adapters: Any = None,
        processes: Processes = ONE,
        settings: ModelSettings | None = None,
    ) -> None:
        self.settings = settings or ModelSettings()
        self.processes = processes
        self.is_sharded = False
        self._is_gathered = False
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.compute_dtype = compute_dtype
        self.version = 0
        self.pad = _pad_token(tokenizer)
        self._adapters = adapters
        self._forward = TokenLogprobs(model)

    @classmethod
    def load(
        cls, settings: ModelSettings, processes: Processes = ONE, *, strategy: Literal["ddp", "fsdp"] = "ddp"
    ) -> "Policy":
        """Load a model and its tokenizer in fp32. Raises UserError if there is none, or none of that kind.

        With ``fsdp`` each of several processes keeps a piece of every weight; the model as a whole is in main memory
        only, while it is loaded.
        """
        path = resolve_model(settings.path)
        model, tokenizer = load_pretrained(settings, path)
        device = resolve_device(settings.device)
        if device.type == "cpu":
            keep_freed_memory()
        in_pieces = strategy == "fsdp" and processes.size > 1
        torch.nn.Module.to(model, torch.device("cpu") if in_pieces else device)
        adapters = add_adapters(model, settings.lora) if settings.lora is not None else None
        with model_errors(settings, "reading four tokens"):
            policy = cls(
                model,
                tokenizer,
                compute_dtype=DTYPES[settings.compute_dtype],
                adapters=adapters,
                processes=processes,
                settings=settings,
            )
        if settings.gradient_checkpointing:
            recompute_activations(model)
        if in_pieces:
            policy._shard(device)
        return policy

    @classmethod
    def load_adapter(cls, settings: ModelSettings, folder: Path, processes: Processes = ONE) -> "Policy":
        """Load the LoRA adapter of a folder with the model it names, to train the adapter further.

        The tokenizer is the folder's, where it has one. UserError where they cannot be loaded or do not fit.
        """
        own = settings.model_copy(update={"path": adapter_base(folder)})
        model, tokenizer = load_pretrained(own, resolve_model(own.path))
        if (folder / "tokenizer_config.json").is_file():
            tokenizer = AutoTokenizer.from_pretrained(folder)
        torch.nn.Module.to(model, resolve_device(settings.device))
        adapters = put_adapter(model, folder)
        with model_errors(own, "reading four tokens"):
            policy = cls(
                model,
                tokenizer,
                compute_dtype=DTYPES[settings.compute_dtype],
                adapters=adapters,
                processes=processes,
                settings=own,
            )
        if settings.gradient_checkpointing:
            recompute_activations(model)
        return policy

    @property
    def path(self) -> str:
        """The folder, or the hub name, that the model was loaded from."""
        return resolve_model(self.settings.path)

    @property
    def context(self) -> int | None:
        """The longest prompt with its response that the model takes, in tokens; None where it does not say."""
        return context_length(self.model)

    @property
    def vocabulary(self) -> int:
        """How many token ids the model can read."""
        embeddings: Any = self.model.get_input_embeddings()
        return int(embeddings.num_embeddings)

    @property
    def device(self) -> torch.device:
        return next(iter(self.model.parameters())).device

    def trainable(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The parameters that training moves, by name; tied weights once."""
        return ((name, p) for name, p in self.model.named_parameters() if p.requires_grad)

    def collate(self, rows: Sequence[Row]) -> TokenBatch:
        """The rows as a micro-batch for this policy's model, on its device."""
        return collate(rows, pad=self.pad, device=self.device, share_prompts=self.shares_prompts)

    @property
    def shares_prompts(self) -> bool:
        """Tell whether a prompt that several rows of a micro-batch begin with may be read once."""
        return self._forward.shares_prompts and not self.is_sharded

    def microbatches(self, rows: Sequence[Row], *, max_tokens: int) -> list[list[int]]:
        """The micro-batches of this process's share of the rows, as indices; on a CPU of few tokens."""
        if self.device.type == "cpu":
            max_tokens = min(max_tokens, TOKENS_AT_ONCE_ON_CPU)
        return own_microbatches(rows, self.processes, max_tokens=max_tokens, share_prompts=self.shares_prompts)

    def logprobs(
        self, batch: TokenBatch, *, temperature: float = 1.0, with_entropy: bool = True, in_fp32: bool = False
    ) -> tuple[Tensor, Tensor]:
        """(logp_policy_NT, entropy_NT) of the response tokens, in nats, zero on padding. Carries gradient.

        ``in_fp32`` computes in the precision of the weights, whatever ``compute_dtype``.
        """
        with contextlib.nullcontext() if in_fp32 else self._autocast():
            logp, entropy = self._forward(batch, temperature, with_entropy)
        return logp.view(batch.mask_NT.shape), entropy.view(batch.mask_NT.shape)

    @device_errors("computing log-probs", LESS_MEMORY)
    @torch.no_grad()
    def logp(
        self, rows: Sequence[Row], *, max_tokens: int, temperature: float = 1.0, in_fp32: bool = False
    ) -> list[NDArray[np.float32]]:
        """Log-probs (nats) of each row's response tokens under the present weights, in the order of the rows.

        Whatever is measured by two passes is measured ``in_fp32``, the precision of the weights: in bf16 two passes
        over weights that hardly differ are as far apart as rounding puts them.

        All processes call this with the same rows; each scores its share, and all get the log-probs of all.
        """
        scored: dict[int, NDArray[np.float32]] = {}
        for indices in self.microbatches(rows, max_tokens=max_tokens):
            part = rows_of(indices, rows)
            logp_NT, _ = self.logprobs(
                self.collate(part),
                temperature=temperature,
                with_entropy=False,
                in_fp32=in_fp32,
            )
            scored |= logp_of_rows(indices, rows, logp_NT)
        return in_order(scored, self.processes)

    @property
    def has_adapters(self) -> bool:
        """Tell whether low-rank adapters are trained instead of the weights."""
        return self._adapters is not None

    def adapter_weights(self) -> dict[str, Tensor]:
        """Return the weights of the adapters under the names of an adapter's file."""
        assert self._adapters is not None, "there are no adapters"
        return adapter_weights(self._adapters)

    def without_adapters(self) -> contextlib.AbstractContextManager[Any]:
        """The base policy, for the duration."""
        assert self._adapters is not None, "there are no adapters to switch off"
        return self._adapters.disable_adapter()

    @contextlib.contextmanager
    def gathered(self) -> Iterator[None]:
        """Every process holds the whole weights for the duration; nothing to do where it does anyway."""
        if not self.is_sharded or self._is_gathered:
            yield
            return
        self._is_gathered = True
        try:
            with gathered(self._forward):
                yield
        finally:
            self._is_gathered = False

    def full_weights(self) -> dict[str, Tensor]:
        """A copy, in main memory, of every trained weight, in every process."""
        return {name: whole(parameter.detach()).to("cpu", copy=True) for name, parameter in self.trainable()}

    @torch.no_grad()
    def put_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Set this process's piece of every trained weight to the one of its name. KeyError if one is missing."""
        for name, parameter in self.trainable():
            piece(parameter).copy_(weights[name])

    def exported_weights(self) -> Iterator[tuple[str, Tensor]]:
        """The weights under the names of a checkpoint, one by one, adapters merged; they may be the live ones."""
        with self.gathered():
            yield from exported_weights(self.model)

    def save(self, path: Path, *, dtype: torch.dtype, weights: Mapping[str, Tensor] | None = None) -> None:
        """Write model and tokenizer in Hugging Face format, adapters merged; training goes on as before.

        Of a policy in pieces, whose whole ``weights`` are given, a copy in main memory is made for this.
        """
        if self.is_sharded:
            assert weights is not None, "a process alone has no more than its pieces"
            unsharded = Policy.load(self.settings.model_copy(update={"device": "cpu"}))
            unsharded.put_weights(weights)
            unsharded.save(path, dtype=dtype)
            return
        model = self.model if self._adapters is None else copy.deepcopy(self._adapters).merge_and_unload()
        save_pretrained(model, self.tokenizer, path, dtype=dtype)

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self.compute_dtype is torch.float32:
            return contextlib.nullcontext()
        # The cache would keep a copy of every weight, also of those that are in pieces again.
        return torch.autocast(self.device.type, dtype=self.compute_dtype, cache_enabled=not self.is_sharded)

    def _shard(self, device: torch.device) -> None:
        """Leave of every weight a piece in each process (FSDP2)."""
        names = self.model._no_split_modules or ()
        layers = [module for module in self.model.modules() if type(module).__name__ in names]
        shard(self._forward, layers, self.processes, device)
        self.is_sharded = True
        # Whose forward pass comes first is taken for the outermost; it must not be a layer's, in a generation.
        row = Row(prompt_tokens=np.zeros(1, np.int32), tokens=np.zeros(1, np.int32), weight=0.0)
        self.logp([row], max_tokens=2)


def resolve_model(path: str) -> str:
    """The folder of a model that ships with the package, or the path as it was given, which may be a name of the hub.

    UserError where it can only be a folder, and is none: a hub would be asked for it in vain.
    """
    if shipped := shipped_folder(path):
        return str(shipped)
    if path.startswith((".", "/", "~")) and not Path(path).is_dir():
        raise UserError(
            f"model.path is {path!r}, and there is no such folder. Give a folder in Hugging Face format, a hub name, "
            f"or {EMBEDDED_MODEL!r} or {LARGER_MODEL!r}, which ship with the package."
        )
    return path


def resolve_device(name: str) -> torch.device:
    """``auto`` is a GPU where there is one. Raises UserError for a GPU that is not there."""
    has_cuda = torch.cuda.is_available()
    if name == "cuda" and not has_cuda:
        raise UserError("model.device is 'cuda', but PyTorch sees no GPU here; use 'auto' or 'cpu'.")
    return torch.device("cuda" if has_cuda and name != "cpu" else "cpu")


def _pad_token(tokenizer: Any) -> int:
    """A token to pad with; what it is does not matter, since padding is masked everywhere."""
    for token in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    return 0
