"""Memory of one device, at the two moments that need most: while responses are generated, and while weights move.

Sizes in bytes. V vocabulary, H width, L layers, A width of all query heads, K of all key heads, I width of the MLP.
"""

from dataclasses import dataclass, fields

from unsqueeze.config.recipe import Recipe
from unsqueeze.cost.shape import ModelShape, adapter_parameters
from unsqueeze.cost.workload import Lengths, Workload

FEWEST_LOGITS = 2**24
"""Logits that a chunk of the vocabulary head may hold on any device: 64 MiB in fp32."""
LOGITS_SHARE = 64
"""A chunk's logits, and what its loss needs of them, may take this part of a GPU's memory."""
PREFILL_TOKENS = 32_768
"""Tokens of prompts read together (``rollout.hf``)."""
LOGITS_BYTES = 16
"""Bytes of a logit in the loss: the logit, its log-softmax, its gradient and one temporary, fp32."""
DECODED_LOGITS_BYTES = 24
"""Bytes of a logit of the next token while it is sampled: the logits, log-softmax at two temperatures, noise,
temporaries.
"""
TOKENS_AT_ONCE_ON_CPU = 4096
"""Padded tokens of a micro-batch on a CPU, where more would be allowed: products of more rows are no faster, and what a
pass keeps for the way back grows with them."""

PACKED_SHARE = 8
"""The copy of the weights in which a CPU generates may take this part of its memory: a model of that size is not to
fail for being faster.
"""
PROCESS_BYTES = {"cpu": 500 * 10**6, "cuda": 10**9}
"""Python with its libraries on a CPU; the driver's context and what an allocator cannot use, on a GPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Spread of a run over ``num_devices``: weights and all that goes with them ``sharded`` (FSDP) or copied (DDP).

    ``device_memory`` is that of one device, of which vLLM takes its share.
    """

    num_devices: int = 1
    sharded: bool = False
    on_gpu: bool = True
    device_memory: int = 80 * 2**30

    @property
    def shards(self) -> int:
        return self.num_devices if self.sharded else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes on one device. ``resident`` is there throughout; generating and updating need the rest, one or other."""

    process: int
    weights: int
    moments: int
    reference: int
    snapshot: int
    half_weights: int
    packed_weights: int
    gathered: int
    kv_cache: int
    decoding: int
    vllm: int
    vllm_awake: int
    gradients: int
    activations: int
    logits: int
    optimizer_step: int

    @property
    def resident(self) -> int:
        return self.process + self.weights + self.moments + self.reference + self.snapshot

    @property
    def generating(self) -> int:
        weights = self.half_weights + self.packed_weights + self.gathered
        return self.resident + weights + self.kv_cache + self.decoding + self.vllm

    @property
    def updating(self) -> int:
        """At the end of the forward passes, or, where that is more, in the optimizer's step."""
        backward = self.half_weights + self.gathered + self.activations + self.logits
        return self.resident + self.vllm_awake + self.gradients + max(backward, self.optimizer_step)

    @property
    def peak(self) -> int:
        return max(self.generating, self.updating)

    def items(self) -> dict[str, int]:
        return {field.name: getattr(self, field.name) for field in fields(self)}


def layout_for(recipe: Recipe, num_devices: int, *, on_gpu: bool, device_memory: int) -> Layout:
    """Return the layout that a recipe asks for on so many devices: ``parallel.strategy`` decides over the sharding."""
    sharded = num_devices > 1 and recipe.parallel.strategy == "fsdp"
    return Layout(num_devices=num_devices, sharded=sharded, on_gpu=on_gpu, device_memory=device_memory)


def estimate_memory(recipe: Recipe, shape: ModelShape, workload: Workload, lengths: Lengths, layout: Layout) -> Memory:
    """The memory of one device.

    Weights, gradients, AdamW's two moments, and the reference policy are fp32, divided by the shards. The
    moments count twice where the IRL optimizer has a set of its own. LoRA leaves gradients and moments to the adapters
    and needs no copy for the reference. With bf16, autocast holds a copy of the weights for the length of a pass; in
    fp32 on a CPU the hf engine has a copy while it generates. FSDP gathers one layer at a time in an update, and the
    whole policy once a generation. vLLM takes its share while it generates, and throughout where it does not sleep;
    servers take nothing here.
    """
    bf16 = recipe.model.compute_dtype == "bfloat16"
    lora = recipe.model.lora
    trained = shape.num_parameters if lora is None else adapter_parameters(shape, lora)
    all_weights = shape.num_parameters + (trained if lora else 0)
    per_device = 4 * all_weights // layout.shards
    half = 2 * shape.matmul_parameters if bf16 else 0
    rows = min(recipe.rollout.max_rows, -(-most_rows(workload) // layout.num_devices))
    tokens = microbatch_tokens(recipe, workload, lengths, layout)
    responses = tokens * lengths.longest_response // lengths.longest_row
    prompts = max(1, rows // recipe.rl.group_size)
    elsewhere = recipe.rollout.engine != "hf"
    is_small = 4 * all_weights <= layout.device_memory // PACKED_SHARE
    packs = is_small and not (elsewhere or layout.on_gpu or bf16 or lora)
    vllm = vllm_bytes(recipe, shape, layout) if recipe.rollout.engine == "vllm" else 0
    return Memory(
        process=PROCESS_BYTES["cuda" if layout.on_gpu else "cpu"],
        weights=per_device,
        moments=8 * trained * (2 if recipe.irl else 1) // layout.shards,
        reference=per_device if lora is None and recipe.needs_reference else 0,
        # The weights from the beginning of a phase are remembered in main memory.
        snapshot=0 if layout.on_gpu else 4 * trained,
        half_weights=half // layout.shards,
        packed_weights=4 * shape.matmul_parameters if packs else 0,
        gathered=(4 * all_weights if not elsewhere else 0) if layout.shards > 1 else 0,
        kv_cache=0 if elsewhere else rows * lengths.longest_row * kv_bytes_per_token(shape, bf16=bf16),
        decoding=0 if elsewhere else decoding_bytes(shape, rows, prompts, lengths, bf16=bf16),
        vllm=vllm,
        vllm_awake=0 if recipe.rollout.vllm.sleep and layout.on_gpu else vllm,
        gradients=4 * trained // layout.shards,
        activations=tokens
        * activation_bytes_per_token(shape, bf16=bf16, recomputed=recipe.model.gradient_checkpointing),
        logits=logits_bytes(shape, responses, bf16=bf16, device_memory=layout.device_memory if layout.on_gpu else None),
        # Square roots of all second moments at once, where PyTorch steps all weights together: on GPUs.
        optimizer_step=4 * trained // layout.shards if layout.on_gpu else 0,
    )


def vllm_bytes(recipe: Recipe, shape: ModelShape, layout: Layout) -> int:
    """Return the memory that vLLM takes for weights and cache: its share of a GPU; on a CPU the cache it is given, 1
    GiB at first.
    """
    settings = recipe.rollout.vllm
    if layout.on_gpu:
        return round(settings.gpu_memory_utilization * layout.device_memory)
    dtype = settings.dtype or recipe.model.compute_dtype
    return (2 if dtype == "bfloat16" else 4) * shape.num_parameters + round((settings.kv_cache_gib or 1.0) * 2**30)


def most_rows(workload: Workload) -> int:
    """Responses of the largest call of the engine: a generation, or an evaluation."""
    return max(workload.rollouts_per_generation, workload.samples_per_evaluation, workload.samples_per_validation)


def tokens_at_once(recipe: Recipe, layout: Layout) -> int:
    """Padded tokens that a micro-batch may have."""
    allowed = recipe.rl.tokens_per_microbatch
    return allowed if layout.on_gpu else min(allowed, TOKENS_AT_ONCE_ON_CPU)


def microbatch_tokens(recipe: Recipe, workload: Workload, lengths: Lengths, layout: Layout) -> int:
    """Padded tokens of the largest forward and backward pass: as many rows as fit, or one that does not."""
    rows = -(-max(workload.rollouts_per_step, workload.demonstrations_per_update) // layout.num_devices)
    fitting = max(1, tokens_at_once(recipe, layout) // lengths.longest_row)
    return min(rows, fitting) * lengths.longest_row


def kv_bytes_per_token(shape: ModelShape, *, bf16: bool) -> int:
    """2LK numbers, fp32. Under autocast values are bf16, and keys fp32: their rotation is."""
    return shape.layers * shape.key_width * (6 if bf16 else 8)


def activation_bytes_per_token(shape: ModelShape, *, bf16: bool, recomputed: bool) -> int:
    """Return the bytes that the forward pass keeps of a token for the backward pass, all layers.

    A Llama-like layer keeps, twice, its input and the two products of the norm (6H); queries, keys, values and the
    output of attention, and that once more as the input of a product (3A + 2K); four vectors of the gated MLP (4I).
    Everything is fp32; under autocast H-vectors stay fp32 and are kept as bf16 inputs of five products besides, all
    others are bf16. Recomputed: the input of every layer (H, fp32), and one layer's own at a time.
    """
    h, a, k, i = shape.width, shape.attention_width, shape.key_width, shape.mlp_width
    kept_fp32 = 4 * (6 * h + 3 * a + 2 * k + 4 * i)
    kept_bf16 = 4 * 4 * h + 2 * 5 * h + 2 * (3 * a + 2 * k) + 2 * 4 * i
    layer = kept_bf16 if bf16 else kept_fp32
    if recomputed:
        return shape.layers * 4 * h + layer
    return shape.layers * layer


def logits_at_once(device_memory: int | None) -> int:
    """Return how many logits the vocabulary head computes at once, on a GPU of so many bytes; None for main memory."""
    return max(FEWEST_LOGITS, (device_memory or 0) // LOGITS_SHARE // LOGITS_BYTES)


def logits_bytes(shape: ModelShape, num_positions: int, *, bf16: bool, device_memory: int | None) -> int:
    """The vocabulary head: hidden states of responses, a chunk of logits, and the gradient of the head's weights."""
    hidden = num_positions * shape.width * (4 + (2 if bf16 else 0))
    chunk = min(num_positions * shape.vocabulary, logits_at_once(device_memory)) * LOGITS_BYTES
    return hidden + chunk + 4 * shape.head_parameters


def decoding_bytes(shape: ModelShape, rows: int, prompts: int, lengths: Lengths, *, bf16: bool) -> int:
    """The next token's logits of all rows, and the wider of the MLP's vectors while prompts are read."""
    read_together = min(PREFILL_TOKENS, prompts * lengths.longest_prompt)
    prefill = read_together * (2 * shape.mlp_width + 4 * shape.width) * (2 if bf16 else 4)
    return rows * shape.vocabulary * DECODED_LOGITS_BYTES + prefill
