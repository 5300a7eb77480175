"""Models that choose which keys every token reads (DeepSeek sparse attention), in sequences longer than they choose."""

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

from tiny_models import BOS, EOS, tiny_tokenizer
from unsqueeze.policy.batch import Row
from unsqueeze.policy.policy import Policy
from unsqueeze.rollout.hf import HfEngine
from unsqueeze.rollout.types import Sampling
from unsqueeze.training.sampler_check import SamplerGap, sampler_gap

PROMPTS = [[BOS, 5, 6, 7], [BOS, 9], [BOS, 4, 4, 4, 8, 10]]


def gap_of(family: str, index_heads: int) -> SamplerGap:
    """What lies between the engine and the trainer, whose keys are chosen by so many heads: 4 of up to 30."""
    if family not in CONFIG_MAPPING_NAMES:
        pytest.skip(f"this version of transformers has no {family}")
    config = AutoConfig.for_model(
        family,
        vocab_size=32,
        hidden_size=32,
        intermediate_size=48,
        moe_intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
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
        index_n_heads=index_heads,
        index_head_dim=16,
        index_topk=4,
        initializer_range=0.2,
        max_position_embeddings=128,
        bos_token_id=BOS,
        eos_token_id=EOS,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config).float().eval()
    sampling = Sampling(max_tokens=24)
    groups = HfEngine(model, tiny_tokenizer()).generate(PROMPTS, 4, sampling, seeds=[1, 2, 3])
    drawn = [(prompt, one) for prompt, group in zip(PROMPTS, groups, strict=True) for one in group]
    rows = [Row(prompt_tokens=np.asarray(prompt, np.int32), tokens=one.tokens, weight=0.0) for prompt, one in drawn]
    return sampler_gap(Policy(model, tiny_tokenizer()), rows, [one.logp_raw for _, one in drawn], max_tokens=64)


@pytest.mark.parametrize("family", ["deepseek_v32", "glm_moe_dsa"])
def test_what_is_sampled_is_what_is_trained(family: str) -> None:
    assert gap_of(family, 64).gap_token < 1e-4


def test_a_choice_among_equal_keys_is_refused() -> None:
    """A key scores exactly 0 where all heads are negative, often with two of them; which of equal keys the model takes
    depends on how many keys there are, so that a token changes once others follow it."""
    assert "samples from another distribution" in str(gap_of("deepseek_v32", 2).refusal("hf"))
