"""Look-alikes of models that people had trouble with, as public reports tell it: tiny, random, made here.

Each entry of ``REPORTS`` writes a model into a folder and returns the sections of the recipe that is tried on it.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    BambaConfig,
    BambaForCausalLM,
    BertConfig,
    BertLMHeadModel,
    Cohere2Config,
    Cohere2ForCausalLM,
    DeepseekV3Config,
    DeepseekV3ForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    MistralConfig,
    MistralForCausalLM,
    Olmo2Config,
    Olmo2ForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

PAD, BOS, EOS = 0, 1, 2
VOCABULARY = 288
SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.2,
    "pad_token_id": PAD,
    "bos_token_id": BOS,
    "eos_token_id": EOS,
}


def byte_tokenizer(chat_template: str | None = None, *, around: str = "$A", **changes: Any) -> PreTrainedTokenizerFast:
    """A token a byte, after ``<pad>``, ``<bos>`` and ``<eos>``; ``around`` says what goes around a text."""
    special = ["<pad>", "<bos>", "<eos>"]
    alphabet = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    backend = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.TemplateProcessing(
        single=around, special_tokens=[(word, i) for i, word in enumerate(special)]
    )
    named = {"pad_token": "<pad>", "bos_token": "<bos>", "eos_token": "<eos>"} | changes
    return PreTrainedTokenizerFast(tokenizer_object=backend, chat_template=chat_template, **named)


Sections = dict[str, Any]
Make = Callable[[Path], Sections]


@dataclass(frozen=True)
class Report:
    """What was reported of which models, where, and how to make one like it."""

    like: str
    trouble: str
    where: str
    make: Make


def saved(
    folder: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast | None = None,
    *,
    config: dict[str, Any] | None = None,
    generation: dict[str, Any] | None = None,
    **sections: Any,
) -> Sections:
    """Write them, with changed words in ``config.json`` and ``generation_config.json``."""
    model.save_pretrained(folder)
    (tokenizer or byte_tokenizer()).save_pretrained(folder)
    for name, changes in (("config.json", config), ("generation_config.json", generation)):
        if changes is not None:
            path = folder / name
            before = json.loads(path.read_text()) if path.exists() else {}
            path.write_text(json.dumps(before | changes))
    return sections


def seeded(cls: type, config: Any) -> PreTrainedModel:
    torch.manual_seed(0)
    return cls(config).float()


def llama(**changes: Any) -> PreTrainedModel:
    return seeded(LlamaForCausalLM, LlamaConfig(**SHAPE | changes))


LONG_FACTOR = [1.5, 4.0, 8.0, 16.0]
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0] * 4,
    "long_factor": LONG_FACTOR,
    "original_max_position_embeddings": 12,
}
YARN = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
SU = {"type": "su", "short_factor": [1.0] * 4, "long_factor": LONG_FACTOR}
ASKED = "{{ messages[0]['content'] }}"
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}x"
THINK = ASKED + "{% if add_generation_prompt %}<think>\n{% endif %}"
UNGROUPED = {name: value for name, value in SHAPE.items() if name != "num_key_value_heads"}

REPORTS: list[Report] = []


def report(like: str, trouble: str, where: str = "") -> Callable[[Make], Make]:
    """Enter what writes the look-alike; ``where`` is OWNER/NAME/issues/N or OWNER/NAME/pull/N on GitHub."""

    def enter(make: Make) -> Make:
        REPORTS.append(Report(like, trouble, where, make))
        return make

    return enter


@report("Vicuna, Llama 2", "sampling values and `do_sample: false`", "huggingface/transformers/issues/29988")
def sampling_values(folder: Path) -> Sections:
    return saved(folder, llama(), generation={"do_sample": False, "temperature": 0.9, "top_p": 0.6})


@report("Mistral", "the same, found by the first checkpoint", "OpenRLHF/OpenRLHF/issues/212")
def sampling_values_of_mistral(folder: Path) -> Sections:
    model = seeded(MistralForCausalLM, MistralConfig(**SHAPE, sliding_window=6))
    return saved(folder, model, generation={"do_sample": False, "temperature": 0.5})


@report("Qwen3-ASR", "the same with temperature 1e-06", "QwenLM/Qwen3-ASR/issues/210")
def tiny_temperature(folder: Path) -> Sections:
    model = seeded(Qwen3ForCausalLM, Qwen3Config(**SHAPE, head_dim=8))
    return saved(folder, model, generation={"do_sample": False, "temperature": 1e-6})


@report("LoRA runs", "the adapter's folder is given as the model", "microsoft/dp-transformers/issues/53")
def adapter(folder: Path) -> Sections:
    base = folder / "base"
    saved(base, llama())
    adapted = get_peft_model(LlamaForCausalLM.from_pretrained(base), LoraConfig(target_modules="all-linear"))
    adapted.save_pretrained(str(folder))
    byte_tokenizer().save_pretrained(folder)
    return {}


@report("older models", "weights in `pytorch_model.bin`")
def pickled(folder: Path) -> Sections:
    saved(folder, llama())
    torch.save(llama().state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return {}


@report("interrupted downloads", "a shard is missing")
def without_a_shard(folder: Path) -> Sections:
    llama().save_pretrained(folder, max_shard_size="20KB")
    byte_tokenizer().save_pretrained(folder)
    sorted(folder.glob("model-*.safetensors"))[1].unlink()
    return {}


@report("clones without Git LFS", "the weights are a pointer of text", "huggingface/transformers/issues/27923")
def pointer(folder: Path) -> Sections:
    saved(folder, llama())
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    return {}


@report("OPT", "the unknown token begins every text; more rows than tokens", "facebookresearch/metaseq/issues/469")
def opt(folder: Path) -> Sections:
    config = OPTConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        ffn_dim=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        word_embed_proj_dim=16,
        max_position_embeddings=128,
        init_std=0.2,
        pad_token_id=PAD,
        bos_token_id=EOS,
        eos_token_id=EOS,
    )
    tokenizer = byte_tokenizer(around="<eos> $A", unk_token="<eos>", bos_token="<eos>")
    return saved(folder, seeded(OPTForCausalLM, config), tokenizer)


@report("Pythia", "one token is unknown, beginning and end; none for padding")
def pythia(folder: Path) -> Sections:
    tokenizer = byte_tokenizer(unk_token="<eos>", bos_token="<eos>", pad_token=None)
    return saved(folder, seeded(GPTNeoXForCausalLM, GPTNeoXConfig(**UNGROUPED)), tokenizer)


@report("OLMo-2-Instruct", "its chat template begins with that token")
def olmo(folder: Path) -> Sections:
    tokenizer = byte_tokenizer("<eos>" + ASKED, unk_token="<eos>")
    return saved(folder, seeded(Olmo2ForCausalLM, Olmo2Config(**SHAPE)), tokenizer, prompt={"mode": "chat"})


@report("GPT-2", "with and without a cache its logits differ; dropout", "huggingface/transformers/issues/27040")
def gpt2(folder: Path) -> Sections:
    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_positions=128,
        initializer_range=0.2,
        resid_pdrop=0.5,
        attn_pdrop=0.5,
        bos_token_id=BOS,
        eos_token_id=EOS,
    )
    return saved(folder, seeded(GPT2LMHeadModel, config), byte_tokenizer(pad_token=None))


@report("Qwen3-Coder", "more rows than the tokenizer has tokens", "b4rtaz/distributed-llama/pull/282")
def padded_vocabulary(folder: Path) -> Sections:
    config = Qwen2Config(**SHAPE | {"vocab_size": 512, "tie_word_embeddings": True})
    return saved(folder, seeded(Qwen2ForCausalLM, config))


@report("Code Llama", "fewer rows than the tokenizer has tokens", "huggingface/transformers/issues/26714")
def short_vocabulary(folder: Path) -> Sections:
    return saved(folder, llama(vocab_size=60))


@report("Mistral fine-tunes", "the tokenizer ends every text (`add_eos_token`)", "huggingface/trl/issues/1283")
def ended_prompts(folder: Path) -> Sections:
    return saved(folder, llama(), byte_tokenizer(around="<bos> $A <eos>"))


@report("Phi-3", "garbled past the switch of longrope", "huggingface/transformers/pull/33129")
def phi3(folder: Path) -> Sections:
    config = Phi3Config(**SHAPE, original_max_position_embeddings=12, rope_parameters=LONGROPE)
    return saved(folder, seeded(Phi3ForCausalLM, config))


@report("Phi-3 128k", "the same under its first name, `su`", "ggml-org/llama.cpp/issues/8995")
def phi3_su(folder: Path) -> Sections:
    changes = {"rope_parameters": None, "original_max_position_embeddings": 12, "rope_scaling": SU}
    return saved(folder, seeded(Phi3ForCausalLM, Phi3Config(**SHAPE)), config=changes)


@report("Qwen2.5", "`rope_scaling` of type `yarn`")
def yarn(folder: Path) -> Sections:
    model = seeded(Qwen2ForCausalLM, Qwen2Config(**SHAPE))
    return saved(folder, model, config={"rope_parameters": None, "rope_scaling": YARN})


@report("DeepSeek-R1-Distill", "the template opens with `<think>` itself", "huggingface/open-r1/issues/560")
def opened(folder: Path) -> Sections:
    return saved(folder, llama(), byte_tokenizer(THINK), prompt={"style": "deepseek-r1"})


@report("Gemma", "the template refuses a system message", "EleutherAI/lm-evaluation-harness/issues/2109")
def no_system(folder: Path) -> Sections:
    return saved(folder, llama(), byte_tokenizer(NO_SYSTEM), prompt={"mode": "chat", "system": "Think."})


@report("Command R", "several chat templates by name")
def named_templates(folder: Path) -> Sections:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = {"default": ASKED, "tool_use": "x"}
    return saved(folder, llama(), tokenizer, prompt={"mode": "chat"})


@report("Gemma 2, 4", "trained without the cap on its logits", "verl-project/verl/pull/7991")
def capped(folder: Path) -> Sections:
    config = Gemma2Config(**SHAPE, head_dim=8, sliding_window=6, final_logit_softcapping=2.0)
    return saved(folder, seeded(Gemma2ForCausalLM, config))


@report("Granite", "trained without the scale of its logits", "unslothai/unsloth/pull/11277")
def granite(folder: Path) -> Sections:
    config = GraniteConfig(**SHAPE, logits_scaling=8.0, residual_multiplier=0.2)
    return saved(folder, seeded(GraniteForCausalLM, config))


@report("Cohere", "the same, in a fused loss", "huggingface/trl/pull/6629")
def cohere(folder: Path) -> Sections:
    return saved(folder, seeded(Cohere2ForCausalLM, Cohere2Config(**SHAPE, logit_scale=0.25, sliding_window=6)))


@report("Llama 3.1", "several end tokens, none for padding", "huggingface/tgi-gaudi/pull/199")
def several_ends(folder: Path) -> Sections:
    return saved(folder, llama(), byte_tokenizer(pad_token=None), generation={"eos_token_id": [2, 5, 9]})


@report("fine-tunes with recomputed activations", "`use_cache: false`", "huggingface/transformers/issues/36536")
def no_cache(folder: Path) -> Sections:
    return saved(folder, llama(), config={"use_cache": False})


@report("DeepSeek-V3", "latent attention, experts, the name of a further layer")
def deepseek(folder: Path) -> Sections:
    config = DeepseekV3Config(
        **SHAPE | {"num_key_value_heads": 4},
        moe_intermediate_size=16,
        n_routed_experts=4,
        num_experts_per_tok=2,
        n_group=1,
        topk_group=1,
        first_k_dense_replace=1,
        q_lora_rank=16,
        kv_lora_rank=16,
        qk_rope_head_dim=8,
        qk_nope_head_dim=8,
        v_head_dim=8,
    )
    return saved(folder, seeded(DeepseekV3ForCausalLM, config), config={"num_nextn_predict_layers": 1})


@report("Bamba", "states and attention in one model", "huggingface/transformers/pull/34982")
def bamba(folder: Path) -> Sections:
    config = BambaConfig(
        **SHAPE, mamba_d_state=8, mamba_n_heads=4, mamba_d_head=16, mamba_n_groups=1, attn_layer_indices=[1]
    )
    return saved(folder, seeded(BambaForCausalLM, config))


@report("Qwen3-4B-FP8", "weights in FP8", "huggingface/transformers/issues/37927")
def fp8(folder: Path) -> Sections:
    model = seeded(Qwen3ForCausalLM, Qwen3Config(**SHAPE, head_dim=8))
    return saved(folder, model, config={"quantization_config": {"quant_method": "fp8", "weight_block_size": [16, 16]}})


@report("GPTQ checkpoints", "weights in 4 bits")
def gptq(folder: Path) -> Sections:
    return saved(folder, llama(), config={"quantization_config": {"quant_method": "gptq", "bits": 4}})


@report("any", "a method of quantization that is not known", "huggingface/transformers/issues/35471")
def unknown_method(folder: Path) -> Sections:
    return saved(folder, llama(), config={"quantization_config": {"quant_method": "of-my-own"}})


@report("reward models", "a classifier in place of a language model")
def classifier(folder: Path) -> Sections:
    return saved(folder, seeded(LlamaForSequenceClassification, LlamaConfig(**SHAPE)))


@report("BERT", "a model that is not causal")
def bert(folder: Path) -> Sections:
    return saved(folder, seeded(BertLMHeadModel, BertConfig(**UNGROUPED)))


@report("T5", "an encoder and a decoder", "huggingface/transformers/issues/4875")
def t5(folder: Path) -> Sections:
    config = T5Config(vocab_size=VOCABULARY, d_model=32, d_kv=8, d_ff=48, num_layers=1, num_heads=4)
    return saved(folder, seeded(T5ForConditionalGeneration, config))


@report("a file made by hand", "10^9 layers")
def many_layers(folder: Path) -> Sections:
    return saved(folder, llama(), config={"num_hidden_layers": 10**9})


@report("a fine-tune that diverged", "NaN among the weights")
def not_finite(folder: Path) -> Sections:
    model = llama()
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[3, 3] = float("nan")
    return saved(folder, model)
