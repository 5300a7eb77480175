"""What is said of a model folder: one sentence where it is wrong, and what transformers says of weights to spare."""

import json
from collections.abc import Iterator
from logging.handlers import BufferingHandler
from pathlib import Path

import pytest
import torch
import transformers

from tiny_models import BYTE_VOCABULARY, byte_tokenizer, tiny_llama
from unsqueeze.config.model_settings import ModelSettings
from unsqueeze.errors import UserError
from unsqueeze.policy import loading
from unsqueeze.policy.loading import load_pretrained


@pytest.fixture
def said() -> Iterator[BufferingHandler]:
    """What transformers logs."""
    handler = BufferingHandler(1000)
    logger = transformers.utils.logging.get_logger()
    logger.addHandler(handler)
    yield handler
    assert handler in logger.handlers
    logger.removeHandler(handler)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "bytes"
    tiny_llama(BYTE_VOCABULARY, context=128).save_pretrained(path)
    byte_tokenizer("").save_pretrained(path)
    return path


@pytest.fixture
def configured(folder: Path, tmp_path: Path):
    """The folder again, with other words in config.json."""

    def with_changes(**changes: object) -> str:
        for file in folder.iterdir():
            (tmp_path / file.name).write_bytes(file.read_bytes())
        config = json.loads((folder / "config.json").read_text())
        (tmp_path / "config.json").write_text(json.dumps(config | changes))
        return str(tmp_path)

    return with_changes


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}, r"weights are missing, transformer\.h\.0\."),
        ({"intermediate_size": 7}, r"mlp\.down_proj\.weight has the shape \(32, 48\), .* must have \(32, 7\)"),
        ({"num_hidden_layers": 3}, r"weights are missing, model\.layers\.2\."),
    ],
)
def test_of_another_model_one_sentence_is_said(configured, said: BufferingHandler, changes, words: str) -> None:
    path = configured(**changes)
    with pytest.raises(UserError, match=words):
        load_pretrained(ModelSettings(path=path), path)
    assert said.buffer == []


@pytest.mark.parametrize(
    ("described", "method"),
    [
        ({"quant_method": "fp8", "weight_block_size": [128, 128], "activation_scheme": "dynamic"}, "fp8"),
        ({"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0}, "fbgemm_fp8"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 128}, "gptq"),
        ({"quant_method": "awq", "bits": 4, "version": "gemm"}, "awq"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes"),
        ({"quant_method": "compressed-tensors", "format": "float-quantized"}, "compressed-tensors"),
        ({"quant_method": "mxfp4", "modules_to_not_convert": []}, "mxfp4"),
        ({"quant_method": "torchao", "quant_type": {}}, "torchao"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "modelopt"),
    ],
)
def test_quantized_checkpoints_are_refused_in_one_sentence(configured, said, described, method: str) -> None:
    with pytest.raises(UserError) as raised:
        load_pretrained(ModelSettings(path="here"), configured(quantization_config=described))
    told = str(raised.value)
    assert told.startswith("model.path is 'here', and its weights are quantized")
    assert f"quant_method is {method!r}" in told
    assert "Give the model in bfloat16 or float32 that it was made from" in told
    assert not said.buffer


def test_a_quantized_part_of_a_model_is_refused_and_an_unknown_method_is_passed_over(configured) -> None:
    with pytest.raises(UserError, match="quant_method is 'fp8'"):
        load_pretrained(
            ModelSettings(path="here"), configured(text_config={"quantization_config": {"quant_method": "fp8"}})
        )
    load_pretrained(ModelSettings(path="here"), configured(quantization_config={"quant_method": "of tomorrow"}))


def test_weights_in_a_precision_that_is_not_trained_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = loading.AutoModelForCausalLM.from_pretrained

    def quantized(*given: object, **named: object) -> object:
        model, found = plain(*given, **named)
        layer = model.model.layers[0].mlp.up_proj
        layer.weight = torch.nn.Parameter(layer.weight.to(torch.float8_e4m3fn), requires_grad=False)
        return model, found

    monkeypatch.setattr(loading.AutoModelForCausalLM, "from_pretrained", quantized)
    with pytest.raises(UserError, match=r"its weights are quantized \(float8_e4m3fn\), so that they cannot be trained"):
        load_pretrained(ModelSettings(path=str(folder)), str(folder))


def test_weights_that_are_pickles_are_not_read_under_a_hub_name_either(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a hub name there are no files to look at beforehand: what reads the weights must refuse them itself."""
    for file in folder.iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    torch.save(tiny_llama(BYTE_VOCABULARY, context=128).state_dict(), tmp_path / "pytorch_model.bin")
    monkeypatch.setattr(loading, "check_files", lambda path: None)
    with pytest.raises(UserError, match=r"no file named model\.safetensors"):
        load_pretrained(ModelSettings(path=str(tmp_path)), str(tmp_path))


def test_weights_that_have_no_place_are_told(configured, said: BufferingHandler) -> None:
    path = configured(num_hidden_layers=1)
    model, tokenizer = load_pretrained(ModelSettings(path=path), path)
    assert (model.config.num_hidden_layers, tokenizer("a")["input_ids"]) == (1, byte_tokenizer("")("a")["input_ids"])
    assert "UNEXPECTED" in "".join(record.getMessage() for record in said.buffer)
