"""Weights laid out for the processor: the same products, for the models and on the machines that gain by it."""

import platform

import pytest
import torch
from torch import nn
from torch.nn.functional import linear
from transformers import LlamaConfig, LlamaForCausalLM

from tiny_models import BOS, SHAPE, seeded, tiny_tokenizer
from unsqueeze.rollout import packed
from unsqueeze.rollout.hf import HfEngine
from unsqueeze.rollout.packed import Form, Product
from unsqueeze.rollout.plain_rows import steps_as_the_model
from unsqueeze.rollout.types import Sampling
from unsqueeze.seeds import prompt_seeds

FP32 = torch.float32
GAINS = Form.of(nn.Linear(2, 2), FP32).is_packed
needs_onednn = pytest.mark.skipif(not GAINS, reason="weights are laid out on x86 with oneDNN alone")


@needs_onednn
@pytest.mark.parametrize("rows", [1, 7, 300])
@pytest.mark.parametrize("has_bias", [False, True])
def test_a_packed_product_is_the_plain_one(rows: int, has_bias: bool) -> None:
    torch.manual_seed(0)
    weight, values = torch.randn(513, 129), torch.randn(rows, 129)
    bias = torch.randn(513) if has_bias else None
    product = Product(weight, bias, Form(FP32, True))
    assert product.is_packed
    torch.testing.assert_close(product(values), linear(values, weight, bias), rtol=1e-5, atol=1e-4)


@needs_onednn
def test_a_small_matrix_is_left_as_it_is() -> None:
    weight = torch.randn(255, 257)
    assert not Product(weight, None, Form(FP32, True)).is_packed
    assert not Product(torch.randn(513, 129), None, Form(FP32, False)).is_packed


def test_what_a_product_is_given_is_in_the_type_of_the_form() -> None:
    product = Product(torch.ones(2, 3), torch.ones(2), Form(torch.bfloat16, False))
    assert product(torch.ones(1, 3, dtype=torch.bfloat16)).tolist() == [[4.0, 4.0]]


def test_other_types_processors_and_devices_keep_plain_products(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Linear(2, 2)
    assert not Form.of(model, torch.bfloat16).is_packed
    assert not Form.of(nn.Linear(2, 2, device="meta"), FP32).is_packed
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert not Form.of(model, FP32).is_packed


@needs_onednn
def test_a_model_of_more_than_an_eighth_of_main_memory_is_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Linear(8, 8, bias=False)  # 64 weights, 256 bytes
    monkeypatch.setattr(packed, "_main_memory", lambda: 8 * 256)
    assert Form.of(model, FP32).is_packed
    monkeypatch.setattr(packed, "_main_memory", lambda: 8 * 256 - 1)
    assert not Form.of(model, FP32).is_packed


@needs_onednn
def test_a_model_draws_the_same_with_its_weights_laid_out(monkeypatch: pytest.MonkeyPatch) -> None:
    model = seeded(LlamaForCausalLM, LlamaConfig(**SHAPE | {"intermediate_size": 2**12}))
    assert steps_as_the_model(model)
    made: list[Product] = []

    class Watched(Product):
        def __init__(self, *given: object) -> None:
            super().__init__(*given)  # type: ignore[arg-type]
            made.append(self)

    monkeypatch.setattr("unsqueeze.rollout.plain_decoder.Product", Watched)
    drawn = {}
    for fewest in (2**16, 2**62):
        monkeypatch.setattr(packed, "_FEWEST_WEIGHTS", fewest)
        made.clear()
        groups = HfEngine(model, tiny_tokenizer()).generate(
            [[BOS, 5, 6], [BOS, 9]], 4, Sampling(max_tokens=12), seeds=prompt_seeds(1, 2)
        )
        drawn[any(product.is_packed for product in made)] = [c for group in groups for c in group]
    for laid_out, plain in zip(drawn[True], drawn[False], strict=True):
        assert laid_out.tokens.tolist() == plain.tokens.tolist()
        torch.testing.assert_close(
            torch.from_numpy(laid_out.logp_raw), torch.from_numpy(plain.logp_raw), rtol=0, atol=1e-5
        )
