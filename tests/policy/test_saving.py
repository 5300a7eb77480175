"""Other people's models: what their files hold does not keep a checkpoint from being saved, or is said beforehand."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, PreTrainedModel

import unsqueeze as uq
from small_runs import random_recipe
from tiny_models import BYTE_VOCABULARY, byte_tokenizer, tiny_llama
from unsqueeze.config.model_settings import LoraSettings, ModelSettings
from unsqueeze.errors import UserError
from unsqueeze.policy.policy import Policy
from unsqueeze.training.preflight import preflight
from unsqueeze.training.saving_rehearsal import rehearse_saving
from unsqueeze.training.setup import load_parts

LLAMA_2 = {"do_sample": False, "temperature": 0.9, "top_p": 0.6}
"""Of its generation_config.json, as Vicuna and derivatives of Mistral have it: sampling values without sampling."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "model"
    tiny_llama(BYTE_VOCABULARY).save_pretrained(path)
    byte_tokenizer("").save_pretrained(path)
    return path


def change(file: Path, **changes: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def logits(model: PreTrainedModel) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(torch.tensor([[1, 7, 30, 99]])).logits


@pytest.mark.parametrize("lora", [None, LoraSettings(rank=2)], ids=["full", "lora"])
def test_how_to_generate_is_saved_as_it_was_read(folder: Path, tmp_path: Path, lora: LoraSettings | None) -> None:
    change(folder / "generation_config.json", **LLAMA_2, eos_token_id=[2, 5])
    policy = Policy.load(ModelSettings(path=str(folder), lora=lora))
    for round_number in range(2):  # the model is as it was after the first
        policy.save(tmp_path / f"saved-{round_number}", dtype=torch.float32)
        saved = json.loads((tmp_path / f"saved-{round_number}" / "generation_config.json").read_text())
        assert saved == {**saved, **LLAMA_2, "eos_token_id": [2, 5]}
    assert policy.model.generation_config.temperature == 0.9


def test_the_rehearsal_leaves_nothing_and_finds_nothing_wrong(folder: Path, tmp_path: Path) -> None:
    change(folder / "generation_config.json", **LLAMA_2)
    for lora in (None, LoraSettings(rank=2)):
        policy = Policy.load(ModelSettings(path=str(folder), lora=lora))
        before = torch.get_rng_state()
        rehearse_saving(policy, tmp_path / "runs" / "first", dtype=torch.bfloat16)
        assert torch.equal(torch.get_rng_state(), before)
        assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("wrong", ["refuses", "another weight", "another tokenizer"])
def test_what_cannot_be_saved_is_found_before_training(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    recipe = random_recipe()
    parts = load_parts(recipe)
    model, tokenizer = parts.policy.model, parts.policy.tokenizer
    if wrong == "refuses":
        monkeypatch.setattr(model, "save_pretrained", refuse)
        words = "a checkpoint of it could not be saved and loaded again, so nothing is trained: cannot be saved"
    elif wrong == "another weight":
        plain = model.save_pretrained
        monkeypatch.setattr(
            model, "save_pretrained", lambda path, state_dict: plain(path, state_dict=zeroed(state_dict))
        )
        words = "the weight .* was loaded as another"
    else:
        monkeypatch.setattr(tokenizer, "save_pretrained", lambda path: byte_tokenizer("").save_pretrained(path))
        words = "the tokenizer was loaded as another"
    with pytest.raises(UserError, match=words):
        preflight(recipe, parts, tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def refuse(*_: object, **__: object) -> None:
    raise NotImplementedError("cannot be saved")


def zeroed(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    name = min(state)
    return state | {name: torch.zeros_like(state[name])}


def adapter_of(folder: Path, out: Path) -> PreTrainedModel:
    """An adapter in ``out`` with weights of its own; returns the model with it merged."""
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(folder), LoraConfig(target_modules="all-linear", r=2))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.1)
    adapted.save_pretrained(out)
    shutil.copy(folder / "tokenizer.json", out)
    shutil.copy(folder / "tokenizer_config.json", out)
    return adapted.merge_and_unload()


def test_an_adapter_is_refused_with_the_way_to_merge_it(folder: Path, tmp_path: Path) -> None:
    merged = adapter_of(folder, tmp_path / "adapter")
    for lora in (None, LoraSettings(rank=2)):
        with pytest.raises(UserError, match=r"is an adapter .*`unsqueeze convert \S+adapter --out FOLDER`"):
            Policy.load(ModelSettings(path=str(tmp_path / "adapter"), lora=lora))
    uq.convert(tmp_path / "adapter", out=tmp_path / "whole")
    torch.testing.assert_close(
        logits(Policy.load(ModelSettings(path=str(tmp_path / "whole"))).model), logits(merged), rtol=0, atol=1e-5
    )


def as_pickle(folder: Path, hold: Callable[[dict[str, torch.Tensor]], object] = lambda weights: weights) -> None:
    weights = AutoModelForCausalLM.from_pretrained(folder).state_dict()
    torch.save(hold(dict(weights)), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def test_pickled_weights_are_refused_with_the_way_to_convert_them(folder: Path, tmp_path: Path, command) -> None:
    change(folder / "generation_config.json", **LLAMA_2)
    before = logits(AutoModelForCausalLM.from_pretrained(folder))
    as_pickle(folder)
    with pytest.raises(UserError, match=r"pickles \(\.bin\).*`unsqueeze convert \S+model --out FOLDER`"):
        Policy.load(ModelSettings(path=str(folder)))
    code, _, err = command("convert", str(folder), "--out", str(tmp_path / "converted"))
    assert code == 0, err
    parameters = f"{tiny_llama(BYTE_VOCABULARY).num_parameters():,} parameters"
    assert err.splitlines() == [f"{folder}: reading …", f"{tmp_path / 'converted'}: {parameters}, from {folder}"]
    converted = Policy.load(ModelSettings(path=str(tmp_path / "converted")))
    assert torch.equal(logits(converted.model), before)
    assert converted.tokenizer("a b")["input_ids"] == byte_tokenizer("")("a b")["input_ids"]


class Touch:
    """Makes a file when it is read by pickle."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_converting_never_runs_what_a_pickle_holds(folder: Path, tmp_path: Path) -> None:
    as_pickle(folder, lambda weights: {**weights, "more": Touch(tmp_path / "ran")})
    with pytest.raises(UserError, match="could be read from"):
        uq.convert(folder, out=tmp_path / "converted")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def test_precision_stays_when_a_model_is_converted(folder: Path, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    uq.convert(folder, out=tmp_path / "converted")
    assert json.loads((tmp_path / "converted" / "config.json").read_text())["dtype"] == "bfloat16"
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "converted", dtype="auto").dtype == torch.bfloat16
    with pytest.raises(UserError, match="exists already"):
        uq.convert(folder, out=tmp_path / "converted")


@pytest.mark.parametrize(
    "changes",
    [
        {"num_hidden_layers": 10**9},
        {"num_hidden_layers": 1e9},
        {"text_config": {"num_hidden_layers": 10**9}},
        {"model_type": "gpt2", "n_layer": 10**9},
        {"model_type": "mixtral", "num_local_experts": 10**9},
    ],
)
def test_more_layers_than_any_model_has_are_refused_at_once(folder: Path, changes: dict[str, object]) -> None:
    change(folder / "config.json", **changes)
    with pytest.raises(UserError, match=r"config\.json says .*(layer|expert)s? is 1000000000"):
        Policy.load(ModelSettings(path=str(folder)))
