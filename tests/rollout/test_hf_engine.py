"""The engine on Hugging Face models: what it returns is what the model itself says, however rows are batched."""

import numpy as np
import pytest
import torch
from transformers import (
    BambaConfig,
    BambaForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    Lfm2Config,
    Lfm2ForCausalLM,
    Llama4ForCausalLM,
    Llama4TextConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MiniMaxConfig,
    MiniMaxForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    PhimoeConfig,
    PhimoeForCausalLM,
    PreTrainedModel,
    RwkvConfig,
    RwkvForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from tiny_models import BOS, EOS, SHAPE, seeded, tiny_gpt2, tiny_llama, tiny_qwen2, tiny_tokenizer
from unsqueeze.errors import RunError, UserError
from unsqueeze.policy.batch import Row
from unsqueeze.policy.policy import Policy
from unsqueeze.rollout import rows
from unsqueeze.rollout.hf import HfEngine
from unsqueeze.rollout.queue import next_prompts
from unsqueeze.rollout.types import Completion, Sampling, StopReason
from unsqueeze.seeds import prompt_seeds

TOKENIZER = tiny_tokenizer()
UNEVEN = [[BOS, 5, 6, 7], [BOS, 9], [BOS, 4, 4, 4, 8, 10], [BOS, 9, 3], [BOS, 9, 4, 4]]
RECURRENT = {"vocab_size": 32, "hidden_size": 32, "num_hidden_layers": 2, "bos_token_id": BOS, "eos_token_id": EOS}


class WithoutCache(LlamaForCausalLM):
    """A model that gives no cache, and takes no advantage of one."""

    def forward(self, input_ids=None, attention_mask=None, position_ids=None, use_cache=None):  # type: ignore[no-untyped-def]
        return super().forward(
            input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids, use_cache=False
        )


MODELS = {
    "llama": tiny_llama,
    "gpt2": tiny_gpt2,
    "qwen2": tiny_qwen2,
    "sliding window": lambda: seeded(MistralForCausalLM, MistralConfig(**SHAPE, sliding_window=4)),
    "sliding and full": lambda: seeded(
        Gemma3ForCausalLM,
        Gemma3TextConfig(**SHAPE, head_dim=8, sliding_window=4, layer_types=["sliding_attention", "full_attention"]),
    ),
    "convolution and full": lambda: seeded(
        Lfm2ForCausalLM, Lfm2Config(**SHAPE, layer_types=["conv", "full_attention"])
    ),
    "state space": lambda: seeded(MambaForCausalLM, MambaConfig(**RECURRENT, state_size=4, pad_token_id=0)),
    "recurrent, no cache": lambda: seeded(RwkvForCausalLM, RwkvConfig(**RECURRENT, context_length=64)),
    "state space and full": lambda: seeded(
        BambaForCausalLM,
        BambaConfig(
            **SHAPE, mamba_d_state=8, mamba_n_heads=4, mamba_d_head=16, mamba_n_groups=1, attn_layer_indices=[1]
        ),
    ),
    "attention in chunks": lambda: seeded(
        Llama4ForCausalLM,
        Llama4TextConfig(
            **SHAPE,
            intermediate_size_mlp=48,
            head_dim=8,
            num_local_experts=4,
            attention_chunk_size=6,
            no_rope_layers=[1, 0],
            floor_scale=8,
        ),
    ),
    "a cache of its own": lambda: seeded(
        MiniMaxForCausalLM,
        MiniMaxConfig(**SHAPE, head_dim=8, num_local_experts=4, layer_types=["linear_attention", "full_attention"]),
    ),
    "no cache": lambda: seeded(WithoutCache, tiny_llama().config),
}


def logits_of(model: PreTrainedModel, prompt: list[int], completion: Completion) -> torch.Tensor:
    """The logits of every token of the completion, by one plain forward pass of one sequence, shape TV."""
    with torch.no_grad():
        logits = model.eval()(torch.tensor([prompt + completion.tokens.tolist()])).logits[0]
    return logits[len(prompt) - 1 : -1].float()


def log_probs(logits_TV: torch.Tensor, completion: Completion) -> np.ndarray:
    tokens = torch.from_numpy(completion.tokens).long().unsqueeze(-1)
    return logits_TV.log_softmax(-1).gather(-1, tokens).squeeze(-1).numpy()


def tokens_of(completions: list[list[Completion]]) -> list[list[list[int]]]:
    return [[c.tokens.tolist() for c in group] for group in completions]


class Calls:
    """The shape of the tokens of every forward pass of a model, from now on."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.shapes: list[tuple[int, ...]] = []
        model.get_input_embeddings().register_forward_pre_hook(self._note)

    def _note(self, module: object, inputs: tuple[torch.Tensor]) -> None:
        self.shapes.append(tuple(inputs[0].shape))


def asked_engine(model: PreTrainedModel, **settings: int) -> HfEngine:
    """An engine that has asked the model what its first call asks."""
    engine = HfEngine(model, TOKENIZER, **settings)
    engine.generate([[BOS]], 1, Sampling(max_tokens=1), seeds=[0])
    return engine


@pytest.mark.parametrize("name", MODELS)
def test_log_probs_equal_a_plain_forward_pass(name: str) -> None:
    model = MODELS[name]()
    sampling = Sampling(max_tokens=16, temperature=0.8, top_p=0.95, top_k=20)
    groups = HfEngine(model, TOKENIZER, max_rows=8).generate(UNEVEN, 3, sampling, seeds=prompt_seeds(1, len(UNEVEN)))
    assert [len(group) for group in groups] == [3] * len(UNEVEN)
    for prompt, group in zip(UNEVEN, groups, strict=True):
        for completion in group:
            logits_TV = logits_of(model, prompt, completion)
            np.testing.assert_allclose(completion.logp_raw, log_probs(logits_TV, completion), atol=1e-5)
            np.testing.assert_allclose(completion.logp_behaviour, log_probs(logits_TV / 0.8, completion), atol=1e-5)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", ["llama", "gpt2", "qwen2", "sliding window"])
def test_greedy_equals_generate(name: str, attention: str) -> None:
    model = MODELS[name]().eval()
    model.set_attn_implementation(attention)
    groups = HfEngine(model, TOKENIZER).generate(
        UNEVEN, 1, Sampling(max_tokens=24, temperature=0), seeds=prompt_seeds(0, len(UNEVEN))
    )
    for prompt, (completion,) in zip(UNEVEN, groups, strict=True):
        ids = torch.tensor([prompt])
        expected = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=24, do_sample=False)
        assert completion.tokens.tolist() == expected[0, len(prompt) :].tolist()
        assert completion.logp_raw is completion.logp_behaviour


SWITCH = 12
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "original_max_position_embeddings": SWITCH,
    "short_factor": [1.0] * 4,
    "long_factor": [1.5, 4.0, 8.0, 16.0],
}
SWITCHING = {
    "phi3": lambda: seeded(
        Phi3ForCausalLM,
        Phi3Config(**SHAPE, original_max_position_embeddings=SWITCH, rope_parameters=LONGROPE),
    ),
    "phi3, sliding window": lambda: seeded(
        Phi3ForCausalLM,
        Phi3Config(**SHAPE, original_max_position_embeddings=SWITCH, rope_parameters=LONGROPE, sliding_window=8),
    ),
    "phimoe": lambda: seeded(
        PhimoeForCausalLM,
        PhimoeConfig(
            **SHAPE,
            num_local_experts=4,
            rope_parameters=LONGROPE | {"short_mscale": 1.2, "long_mscale": 1.4},
        ),
    ),
}


@pytest.mark.parametrize("part", [1, 40, 32_768])
@pytest.mark.parametrize("name", SWITCHING)
def test_positions_that_are_encoded_otherwise_in_a_long_sequence(
    name: str, part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the model itself says of a token is what it gives after the tokens before it, read alone, without a cache:
    the trainer gives the same, beside sequences of other lengths too.
    """
    monkeypatch.setattr(rows, "PREFILL_TOKENS", part)
    model = SWITCHING[name]()
    prompts = [*UNEVEN, [BOS, *[5, 9, 3] * 5]]
    groups = HfEngine(model, TOKENIZER, max_rows=8).generate(
        prompts, 3, Sampling(max_tokens=20), seeds=prompt_seeds(1, len(prompts))
    )
    drawn = [(prompt, each) for prompt, group in zip(prompts, groups, strict=True) for each in group]
    assert any(len(prompt) < SWITCH < len(prompt) + each.num_tokens - 1 for prompt, each in drawn)
    read = [Row(prompt_tokens=np.asarray(prompt, np.int32), tokens=each.tokens, weight=0.0) for prompt, each in drawn]
    trained = Policy(model, TOKENIZER).logp(read, max_tokens=200)
    for (prompt, completion), logp in zip(drawn, trained, strict=True):
        with torch.no_grad():
            steps = [prompt + completion.tokens[:t].tolist() for t in range(completion.num_tokens)]
            logits_TV = torch.stack([model(torch.tensor([ids]), use_cache=False).logits[0, -1] for ids in steps])
        expected = log_probs(logits_TV, completion)
        np.testing.assert_allclose(completion.logp_raw, expected, atol=1e-5)
        np.testing.assert_allclose(logp, expected, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_the_size_of_batches_does_not_change_the_draws(name: str) -> None:
    model = MODELS[name]()
    sampling = Sampling(max_tokens=12)
    first, *others = (
        tokens_of(
            HfEngine(model, TOKENIZER, max_rows=max_rows).generate(
                UNEVEN, 4, sampling, seeds=prompt_seeds(3, len(UNEVEN))
            )
        )
        for max_rows in (256, 7, 3, 1)
    )
    assert all(other == first for other in others)


def test_the_same_seed_gives_the_same_bits_and_another_seed_others() -> None:
    engine = HfEngine(tiny_llama(), TOKENIZER)
    one, two, three = (
        engine.generate(UNEVEN, 4, Sampling(max_tokens=12), seeds=prompt_seeds(seed, len(UNEVEN))) for seed in (1, 1, 2)
    )
    for group, again in zip(one, two, strict=True):
        for completion, same in zip(group, again, strict=True):
            np.testing.assert_array_equal(completion.tokens, same.tokens)
            np.testing.assert_array_equal(completion.logp_raw, same.logp_raw)
    assert tokens_of(one) != tokens_of(three)


def test_rollouts_of_equal_prompts_differ_by_place() -> None:
    groups = tokens_of(
        HfEngine(tiny_llama(), TOKENIZER).generate(
            [[BOS, 5]] * 2, 4, Sampling(max_tokens=12), seeds=prompt_seeds(1, len([[BOS, 5]] * 2))
        )
    )
    assert groups[0] != groups[1]
    assert len({tuple(tokens) for group in groups for tokens in group}) > 4


def test_completions_end_at_their_end_token() -> None:
    groups = HfEngine(tiny_llama(), TOKENIZER).generate(
        UNEVEN, 16, Sampling(max_tokens=20), seeds=prompt_seeds(0, len(UNEVEN))
    )
    reasons = set()
    for completion in (c for group in groups for c in group):
        tokens = completion.tokens.tolist()
        reasons.add(completion.stop_reason)
        if completion.stop_reason is StopReason.EOS:
            assert tokens[-1] == EOS
            assert completion.text == TOKENIZER.decode(tokens[:-1], skip_special_tokens=True)
        else:
            assert len(tokens) == 20
        assert EOS not in tokens[:-1]
        assert "<eos>" not in completion.text
        assert len(completion.logp_raw) == len(completion.logp_behaviour) == len(tokens)
        assert (completion.logp_raw <= 0).all()
        assert (completion.tokens.dtype, completion.logp_raw.dtype) == (np.int32, np.float32)
    assert reasons == {StopReason.EOS, StopReason.LENGTH}


def test_every_declared_end_token_ends_a_completion() -> None:
    # An end token that the tokenizer does not call special is left out of the text all the same.
    model = tiny_llama()
    model.generation_config.eos_token_id = [7, 9]
    groups = HfEngine(model, TOKENIZER).generate(
        UNEVEN, 16, Sampling(max_tokens=20), seeds=prompt_seeds(0, len(UNEVEN))
    )
    last = set()
    for completion in (c for group in groups for c in group):
        if completion.stop_reason is StopReason.EOS:
            last.add(int(completion.tokens[-1]))
            assert completion.text.split() == [f"w{t}" for t in completion.tokens[:-1] if t > EOS]
        assert not {7, 9, EOS} & set(completion.tokens[:-1].tolist())
    assert last == {7, 9, EOS}


def test_min_tokens_bars_the_end_until_then() -> None:
    sampling = Sampling(max_tokens=8, min_tokens=5)
    groups = HfEngine(tiny_llama(), TOKENIZER).generate(UNEVEN, 16, sampling, seeds=prompt_seeds(0, len(UNEVEN)))
    lengths = [len(c.tokens) for group in groups for c in group if c.stop_reason is StopReason.EOS]
    assert min(lengths) == 5


def test_stop_strings_end_a_completion_and_stay_out_of_its_text() -> None:
    engine = HfEngine(tiny_llama(), TOKENIZER)
    free = engine.generate(UNEVEN, 16, Sampling(max_tokens=20), seeds=prompt_seeds(0, len(UNEVEN)))
    stopped = engine.generate(
        UNEVEN, 16, Sampling(max_tokens=20, stop=("w1 ", "w9", "w2")), seeds=prompt_seeds(0, len(UNEVEN))
    )
    num_stopped = 0
    for before, after in zip((c for g in free for c in g), (c for g in stopped for c in g), strict=True):
        words = before.text.split()
        # "w1 " needs a token after w1 and never matches w10; "w2" and "w9" are met inside "w20" ... "w29" as well.
        at = next((i for i, word in enumerate(words) if word.startswith(("w2", "w9"))), None)
        if at is None:
            assert after.text == before.text
            assert after.stop_reason is before.stop_reason
        else:
            num_stopped += 1
            assert after.stop_reason is StopReason.STOP
            assert after.text.split() == words[:at]
            assert after.tokens.tolist() == before.tokens[: len(after.tokens)].tolist()
            assert TOKENIZER.convert_ids_to_tokens(int(after.tokens[-1])) == words[at]
    assert num_stopped > 20


def test_a_stop_string_may_span_tokens_and_waits_for_min_tokens() -> None:
    engine = HfEngine(tiny_llama(), TOKENIZER)

    def greedy(min_tokens: int, *stop: str) -> Completion:
        sampling = Sampling(max_tokens=12, temperature=0, min_tokens=min_tokens, stop=stop)
        return engine.generate([[BOS, 5]], 1, sampling, seeds=prompt_seeds(0, 1))[0][0]

    words = greedy(12).text.split()
    assert len(words) == 12
    spanning = greedy(4, f"{words[2]} {words[3]}")  # the end token is barred just as long
    assert (spanning.text.split(), len(spanning.tokens)) == (words[:2], 4)
    late = greedy(6, "w")
    assert (late.text.split(), len(late.tokens)) == (words[:5], 6)
    assert spanning.stop_reason is late.stop_reason is StopReason.STOP


def test_top_k_one_is_greedy() -> None:
    engine = HfEngine(tiny_qwen2(), TOKENIZER)
    greedy = engine.generate(UNEVEN, 1, Sampling(max_tokens=16, temperature=0), seeds=prompt_seeds(0, len(UNEVEN)))
    top_one = engine.generate(
        UNEVEN, 1, Sampling(max_tokens=16, temperature=1.3, top_k=1), seeds=prompt_seeds(5, len(UNEVEN))
    )
    assert tokens_of(greedy) == tokens_of(top_one)


def test_draws_follow_the_probabilities_of_the_model() -> None:
    # All continuations of two tokens over a vocabulary of 6, 4,096 draws: those of expected count 5 or more, and the
    # rest as one class. The 0.999 quantile of chi-square grows with the classes: 2.2 per degree of freedom bounds it
    # from 11 degrees on. The seed is fixed.
    model, prompt, n = tiny_llama(vocab=6), [BOS, 4], 4096
    ((*drawn,),) = HfEngine(model, TOKENIZER, max_rows=1024).generate(
        [prompt], n, Sampling(max_tokens=2, temperature=0.9), seeds=prompt_seeds(11, 1)
    )
    with torch.no_grad():
        first_V = (model(torch.tensor([prompt])).logits[0, -1] / 0.9).softmax(-1)
        second_VV = (model(torch.tensor([[*prompt, v] for v in range(6)])).logits[:, -1] / 0.9).softmax(-1)
    expected = {(v, w): n * float(first_V[v] * second_VV[v, w]) for v in range(6) if v != EOS for w in range(6)}
    expected[(EOS,)] = n * float(first_V[EOS])
    counts = dict.fromkeys(expected, 0)
    for completion in drawn:
        counts[tuple(completion.tokens.tolist())] += 1
    large = [key for key in expected if expected[key] >= 5]
    rest = n - sum(expected[key] for key in large), n - sum(counts[key] for key in large)
    chi_square = sum((counts[key] - expected[key]) ** 2 / expected[key] for key in large)
    chi_square += (rest[1] - rest[0]) ** 2 / max(rest[0], 1)
    assert len(large) > 11
    assert chi_square < 2.2 * len(large)


def test_each_prompt_is_read_once_for_all_its_rollouts() -> None:
    model = tiny_llama()
    engine, calls = asked_engine(model, max_rows=8), Calls(model)
    sampling = Sampling(max_tokens=5, min_tokens=5)
    engine.generate(UNEVEN, 4, sampling, seeds=prompt_seeds(0, len(UNEVEN)))
    # 8 rows are 2 prompts of 4 rollouts: lengths 2 and 3, 4 and 4, then 6 alone. The first token of each rollout comes
    # from the reading, the last is not read again: four more passes of one token a row.
    assert calls.shapes == [(2, 3), *[(8, 1)] * 4, (2, 4), *[(8, 1)] * 4, (1, 6), *[(4, 1)] * 4]


def test_a_prompt_with_more_rollouts_than_rows_is_still_read_once() -> None:
    model = tiny_llama()
    engine, calls = asked_engine(model, max_rows=4), Calls(model)
    engine.generate([[BOS, 5]], 10, Sampling(max_tokens=2, min_tokens=2), seeds=prompt_seeds(0, 1))
    assert calls.shapes == [(1, 2), (4, 1), (4, 1), (2, 1)]


def test_rows_that_ended_leave_the_batch() -> None:
    model = tiny_llama()
    engine, calls = asked_engine(model), Calls(model)
    (group,) = engine.generate([[BOS, 5]], 64, Sampling(max_tokens=30), seeds=prompt_seeds(0, 1))
    rows = [shape[0] for shape in calls.shapes[1:]]
    assert rows == sorted(rows, reverse=True)
    for step, num_rows in enumerate(rows, start=1):
        running = sum(len(c.tokens) > step for c in group)
        # Fewer than an eighth of the rows may be waiting to leave.
        assert running <= num_rows < running + max(1, num_rows / 8)
    assert rows[-1] < 32


def test_nothing_is_computed_after_the_last_row_has_ended() -> None:
    model = tiny_llama()
    engine, calls = asked_engine(model), Calls(model)
    (group,) = engine.generate([[BOS, 5]], 2, Sampling(max_tokens=100), seeds=prompt_seeds(4, 1))
    longest = max(len(c.tokens) for c in group)
    assert longest < 100
    assert len(calls.shapes) == longest


def test_lengths_are_kept_apart_where_padding_would_be_remembered() -> None:
    model = MODELS["state space"]()
    calls = Calls(model)
    HfEngine(model, TOKENIZER).generate(UNEVEN, 1, Sampling(max_tokens=1), seeds=prompt_seeds(0, len(UNEVEN)))
    assert calls.shapes == [(1, 2), (1, 3), (2, 4), (1, 6)]


def test_progress_counts_every_completion_once() -> None:
    counts: list[int] = []
    HfEngine(tiny_llama(), TOKENIZER, max_rows=6).generate(
        UNEVEN, 5, Sampling(max_tokens=10), seeds=prompt_seeds(0, len(UNEVEN)), on_finished=counts.append
    )
    assert sum(counts) == 25
    assert min(counts) > 0


def test_the_weights_are_the_callers_and_so_are_the_modes() -> None:
    model = tiny_gpt2()
    model.train()
    model.transformer.h[0].eval()
    modes = [module.training for module in model.modules()]
    engine = HfEngine(model, TOKENIZER)
    sampling = Sampling(max_tokens=8)
    before = tokens_of(engine.generate(UNEVEN, 2, sampling, seeds=prompt_seeds(0, len(UNEVEN))))
    assert (
        tokens_of(engine.generate(UNEVEN, 2, sampling, seeds=prompt_seeds(0, len(UNEVEN)))) == before
    )  # GPT-2's dropout of 0.1 is off
    assert [module.training for module in model.modules()] == modes
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.linspace(-1, 1, parameter.numel()).view_as(parameter))
    assert tokens_of(engine.generate(UNEVEN, 2, sampling, seeds=prompt_seeds(0, len(UNEVEN)))) != before


def test_modes_are_restored_after_an_error() -> None:
    model = tiny_llama().train()
    with torch.no_grad():
        model.lm_head.weight[3] = float("nan")
    with pytest.raises(RunError, match="not finite after 0 tokens; its weights have probably diverged"):
        HfEngine(model, TOKENIZER).generate(UNEVEN, 2, Sampling(max_tokens=4), seeds=prompt_seeds(0, len(UNEVEN)))
    assert model.training


def test_autocast_computes_in_the_named_type_and_leaves_no_trace() -> None:
    model = tiny_llama()
    types: set[torch.dtype] = set()
    engine = HfEngine(model, TOKENIZER, autocast_dtype=torch.bfloat16)
    engine.generate([[BOS]], 1, Sampling(max_tokens=1), seeds=[0])  # what the model is asked first is asked in fp32
    model.lm_head.register_forward_hook(lambda module, inputs, output: types.add(output.dtype))
    (group,) = engine.generate([[BOS, 5]], 4, Sampling(max_tokens=6), seeds=prompt_seeds(0, 1))
    assert types == {torch.bfloat16}
    for completion in group:
        exact = log_probs(logits_of(model, [BOS, 5], completion), completion)
        np.testing.assert_allclose(completion.logp_raw, exact, atol=0.1)
    # A weight cast without gradient inside the call must not be found by a training step around it.
    with torch.autocast("cpu", dtype=torch.bfloat16):
        engine.generate([[BOS, 5]], 1, Sampling(max_tokens=2), seeds=prompt_seeds(0, 1))
        model(torch.tensor([[BOS, 5]])).logits.float().sum().backward()
    assert model.lm_head.weight.grad is not None


@pytest.mark.parametrize(
    ("prompts", "n", "max_tokens", "message"),
    [
        ([[BOS]], 0, 4, "n is 0; ask for at least 1"),
        ([[BOS], []], 1, 4, "prompt 1 has no tokens"),
        ([[BOS, 32]], 1, 4, "prompt 0 has token ids from 1 to 32, and the model knows 0 to 31"),
        (
            [[BOS], [BOS] * 10],
            1,
            119,
            "prompt 1 has 10 tokens and max_tokens is 119, .* context of 128; .* at most 118",
        ),
        ([[BOS] * 128], 1, 1, "context of 128; shorten the prompt"),
    ],
)
def test_bad_input_is_named(prompts: list[list[int]], n: int, max_tokens: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        HfEngine(tiny_llama(), TOKENIZER).generate(
            prompts, n, Sampling(max_tokens=max_tokens), seeds=prompt_seeds(0, len(prompts))
        )


def test_the_context_may_be_filled_to_the_last_token() -> None:
    prompt, sampling = [BOS] * 10, Sampling(max_tokens=118, min_tokens=118)
    ((completion,),) = HfEngine(tiny_llama(), TOKENIZER).generate([prompt], 1, sampling, seeds=prompt_seeds(0, 1))
    assert len(completion.tokens) == 118


def test_models_that_are_not_causal_are_refused() -> None:
    config = T5Config(vocab_size=32, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, decoder_start_token_id=0)
    with pytest.raises(UserError, match="T5ForConditionalGeneration is an encoder-decoder model"):
        HfEngine(T5ForConditionalGeneration(config), TOKENIZER)
    with pytest.raises(UserError, match="max_rows is 0"):
        HfEngine(tiny_llama(), TOKENIZER, max_rows=0)


def test_prompts_that_are_read_together_keep_their_bounds() -> None:
    # 10 rows are 3 prompts of 3 rollouts.
    assert next_prompts([2, 2, 3, 4, 4], 3, 10, mix_lengths=True) == 3
    assert next_prompts([2, 2, 3, 4, 4], 3, 10, mix_lengths=False) == 2
    assert next_prompts([2, 4], 3, 10, mix_lengths=True) == 2
    assert next_prompts([2, 4], 30, 10, mix_lengths=True) == 1
    # Two prompts of 16,384 tokens are 32,768 together; a third is too much.
    assert next_prompts([16_384] * 3, 1, 10, mix_lengths=True) == 2
