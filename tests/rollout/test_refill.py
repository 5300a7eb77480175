"""Rows that begin as others end: the batch stays full, and what is drawn stays what it is without that."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, LlamaForCausalLM

from tiny_models import BOS, EOS, PAD, tiny_llama, tiny_qwen2, tiny_tokenizer
from unsqueeze.models import embedded_model_path
from unsqueeze.rollout import cohort, hf
from unsqueeze.rollout.hf import HfEngine
from unsqueeze.rollout.plain_decoder import PlainDecoder
from unsqueeze.rollout.types import Completion, Sampling, StopReason
from unsqueeze.seeds import prompt_seeds

TOKENIZER = tiny_tokenizer()
UNEVEN = [[BOS, 5, 6, 7], [BOS, 9], [BOS, 4, 4, 4, 8, 10], [BOS, 9, 3], [BOS, 9, 4, 4]]
LAST = 31
LLAMA = tiny_llama().eval()


def counting_llama() -> LlamaForCausalLM:
    """Says the token after the one it reads, and its end token after the last: prompts decide lengths."""
    model = tiny_llama().eval()
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        model.model.embed_tokens.weight.copy_(torch.eye(32))
        model.lm_head.weight.copy_(torch.eye(32).roll(1, 0))
        model.lm_head.weight[[PAD, EOS]] = torch.eye(32)[[EOS, LAST]]
    return model


def prompt_of_length(length: int) -> list[int]:
    """A prompt to which ``counting_llama`` answers with so many tokens, the end token included."""
    return [BOS, LAST + 1 - length]


class Steps:
    """The numbers of rows, and of prompts, of the cohorts in every step that is computed from now on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cohorts: list[list[int]] = []
        self.prompts: list[list[int]] = []
        real = PlainDecoder.logits

        def noted(decoder, tokens_N, positions, cohorts):  # type: ignore[no-untyped-def]
            self.cohorts.append([each.num_rows for each in cohorts])
            self.prompts.append([each._pasts[0]._prompt_keys_KPDC.shape[1] for each in cohorts])
            return real(decoder, tokens_N, positions, cohorts)

        monkeypatch.setattr(PlainDecoder, "logits", noted)

    @property
    def rows(self) -> list[int]:
        return [sum(sizes) for sizes in self.cohorts]


def asked_engine(model: LlamaForCausalLM, max_rows: int) -> HfEngine:
    """An engine that has asked the model what its first call asks."""
    engine = HfEngine(model, TOKENIZER, max_rows=max_rows)
    engine.generate([[BOS]], 1, Sampling(max_tokens=1), seeds=[0])
    return engine


def tokens_of(groups: list[list[Completion]]) -> list[list[list[int]]]:
    return [[completion.tokens.tolist() for completion in group] for group in groups]


def test_rows_begin_as_others_end(monkeypatch: pytest.MonkeyPatch) -> None:
    # Four rows at most. The first prompt has 20 tokens, the next three have 2 and end at the second draw. Then the
    # second long one begins with two short ones, which end at the fourth draw, and then the last short one. The long
    # ones end at draws 20 and 22; tokens drawn last are not read. In waves of four it were 19 steps twice.
    lengths = [20, 2, 2, 2, 20, 2, 2, 2]
    engine, steps = asked_engine(counting_llama(), 4), Steps(monkeypatch)
    ended: list[int] = []
    groups = engine.generate(
        [prompt_of_length(length) for length in lengths],
        1,
        Sampling(max_tokens=25, temperature=0),
        seeds=range(8),
        on_finished=ended.append,
    )
    assert [group[0].num_tokens for group in groups] == lengths
    assert steps.rows == [4, 1, 4, 2, 3, *[2] * 14, 1, 1]
    assert ended == [3, 2, 1, 1, 1]


def test_a_row_at_its_limit_leaves_though_it_is_the_only_one(monkeypatch: pytest.MonkeyPatch) -> None:
    # One of 16 rows is too few to leave by itself. The first is at its limit at draw 10, while 15 that began at draw 3
    # go on until draw 12: it must not grow further.
    lengths = [20, *[2] * 15, *[20] * 15]
    engine, steps = asked_engine(counting_llama(), 16), Steps(monkeypatch)
    groups = engine.generate(
        [prompt_of_length(length) for length in lengths], 1, Sampling(max_tokens=10, temperature=0), seeds=range(31)
    )
    assert [group[0].num_tokens for group in groups] == [min(length, 10) for length in lengths]
    assert [group[0].stop_reason is StopReason.LENGTH for group in groups] == [length == 20 for length in lengths]
    assert steps.rows == [16, 1, *[16] * 7, 15, 15]


def test_rows_of_one_prompt_that_begin_in_pieces_share_what_they_remember_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Six rows of the first prompt leave room for two of the second; the other four begin when the first have ended.
    engine, steps = asked_engine(counting_llama(), 8), Steps(monkeypatch)
    groups = engine.generate(
        [prompt_of_length(3), prompt_of_length(10)], 6, Sampling(max_tokens=12, temperature=0), seeds=range(2)
    )
    assert [[one.num_tokens for one in group] for group in groups] == [[3] * 6, [10] * 6]
    assert steps.cohorts[:4] == [[8], [8], [2], [6]]
    assert steps.prompts[:4] == [[2], [2], [1], [1]]


@pytest.mark.parametrize(("short", "third"), [(6, [1, 2]), (5, [1, 1, 1])])
def test_a_cohort_is_not_joined_where_its_past_is_much_longer(
    short: int, third: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    # One row goes on at draw 20, with 20 columns behind it, and three begin. Six draws later one of these goes on, with
    # 6 columns behind it, and the last row begins.
    monkeypatch.setattr(cohort, "_SHORT", short)
    lengths = [29, 20, 20, 20, 6, 6, 29, 2]
    engine, steps = asked_engine(counting_llama(), 4), Steps(monkeypatch)
    groups = engine.generate(
        [prompt_of_length(length) for length in lengths], 1, Sampling(max_tokens=29, temperature=0), seeds=range(8)
    )
    assert [group[0].num_tokens for group in groups] == lengths
    assert steps.cohorts[18:21] == [[4], [1], [1, 3]]
    assert steps.cohorts[25:27] == [[1, 1], third]


@pytest.mark.parametrize("short", [0, 64])
@pytest.mark.parametrize("model", [tiny_llama, tiny_qwen2])
def test_log_probs_are_those_of_a_plain_forward_pass(model, short: int, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    """Prompts of several lengths, rows that join others, and both ways of holding them; a minimum and stop strings."""
    monkeypatch.setattr(cohort, "_SHORT", short)
    model = model().eval()
    sampling = Sampling(max_tokens=40, min_tokens=4, temperature=0.9, top_k=30, stop=("w9 w", "w20"))
    seeds = prompt_seeds(1, len(UNEVEN))
    engine, steps = asked_engine(model, 7), Steps(monkeypatch)
    groups = engine.generate(UNEVEN, 5, sampling, seeds=seeds)
    assert max(steps.rows) == 7
    assert (max(map(len, steps.cohorts)) > 1) == (short == 0)
    for prompt, group in zip(UNEVEN, groups, strict=True):
        for completion in group:
            with torch.no_grad():
                logits_TV = model(torch.tensor([prompt + completion.tokens.tolist()])).logits[0, len(prompt) - 1 : -1]
            tokens_T1 = torch.from_numpy(completion.tokens).long()[:, None]
            for logp, temperature in ((completion.logp_raw, 1), (completion.logp_behaviour, 0.9)):
                expected = (logits_TV / temperature).log_softmax(-1).gather(-1, tokens_T1)[:, 0].numpy()
                np.testing.assert_allclose(logp, expected, atol=1e-5)
            assert completion.num_tokens >= 4
            assert completion.stop_reason is not StopReason.STOP or "w20" not in completion.text
    monkeypatch.setattr(hf, "steps_as_the_model", lambda model: False)
    in_waves = HfEngine(model, TOKENIZER, max_rows=7).generate(UNEVEN, 5, sampling, seeds=seeds)
    assert tokens_of(groups) == tokens_of(in_waves)
    for group, others in zip(groups, in_waves, strict=True):
        assert [(c.text, c.stop_reason) for c in group] == [(c.text, c.stop_reason) for c in others]


def test_the_size_of_the_batch_does_not_change_what_the_embedded_model_says() -> None:
    model = LlamaForCausalLM.from_pretrained(embedded_model_path(), dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(embedded_model_path())
    prompts = [tokenizer(text)["input_ids"] for text in ("1 2 3 4 -> 10\n", "12 3 7 25 -> 48\n", "9 9 9 9 -> 18\n")] * 3
    sampling, seeds = Sampling(max_tokens=24), prompt_seeds(2, len(prompts))

    def drawn(max_rows: int) -> list[list[Completion]]:
        return HfEngine(model, tokenizer, max_rows=max_rows).generate(prompts, 6, sampling, seeds=seeds)

    whole = drawn(256)
    for max_rows in (8, 32):
        first, second = drawn(max_rows), drawn(max_rows)
        assert tokens_of(first) == tokens_of(whole)
        for group, again, expected in zip(first, second, whole, strict=True):
            assert [c.logp_raw.tolist() for c in group] == [c.logp_raw.tolist() for c in again]
            for completion, other in zip(group, expected, strict=True):
                np.testing.assert_allclose(completion.logp_raw, other.logp_raw, atol=1e-4)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    prompts=st.lists(st.lists(st.integers(3, 31), max_size=6), min_size=1, max_size=6),
    n=st.integers(1, 18),
    max_rows=st.integers(1, 24),
    max_tokens=st.integers(2, 40),
    short=st.sampled_from([0, 2, 64]),
    seed=st.integers(0, 99),
)
# Rows of the first prompt come to be in a cohort without the longer one, and in one that had it.
@example(prompts=[[], [3, 3, 3, 3, 3]], n=7, max_rows=6, max_tokens=18, short=0, seed=3)
def test_a_batch_of_any_size_draws_what_one_batch_for_all_draws(
    monkeypatch: pytest.MonkeyPatch,
    prompts: list[list[int]],
    n: int,
    max_rows: int,
    max_tokens: int,
    short: int,
    seed: int,
) -> None:
    monkeypatch.setattr(cohort, "_SHORT", short)
    asked = [[BOS, *prompt] for prompt in prompts]
    seeds = prompt_seeds(seed, len(asked))
    sampling = Sampling(max_tokens=max_tokens, temperature=1.0)
    whole, refilled = (
        tokens_of(HfEngine(LLAMA, TOKENIZER, max_rows=rows).generate(asked, n, sampling, seeds=seeds))
        for rows in (len(asked) * n, max_rows)
    )
    assert refilled == whole
