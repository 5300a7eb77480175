"""Models of other people's: what does not fit is found before anything is trained, and what does is not refused."""

import json
from functools import wraps
from pathlib import Path

import pytest
from transformers import LlamaForCausalLM

from tiny_models import byte_tokenizer, tiny_llama
from unsqueeze.config.load import check_recipe
from unsqueeze.config.recipe import Recipe
from unsqueeze.errors import UserError
from unsqueeze.policy.caches import cache_argument
from unsqueeze.training.rehearsal import rehearse
from unsqueeze.training.setup import load_parts


def recipe_of(folder: Path, **sections: object) -> Recipe:
    """Sums, asked of the model in a folder."""
    data = {"kind": "jsonl"}
    for split, added in (("train", 1), ("test", 2)):
        problems = [{"problem": f"{i} + {added} = ?", "answer": str(i + added)} for i in range(4)]
        path = folder / f"{split}.jsonl"
        path.write_text("".join(json.dumps(problem) + "\n" for problem in problems))
        data[f"{split}_path"] = str(path)
    raw = {
        "name": "other",
        "model": {"path": str(folder)},
        "data": data,
        "rollout": {"max_tokens": 8},
        "rl": {"prompts_per_step": 2},
    }
    return check_recipe(raw | sections, "test")


def test_a_token_beyond_the_vocabulary_is_found_before_training(tmp_path: Path) -> None:
    byte_tokenizer().save_pretrained(tmp_path)
    tiny_llama(60).save_pretrained(tmp_path)
    largest = max(byte_tokenizer()("2 + 1 = ?")["input_ids"])
    with pytest.raises(UserError, match=f"problem .* has the token id {largest}, and the model .* knows 0 to 59"):
        load_parts(recipe_of(tmp_path))


def test_an_unknown_token_that_is_also_the_end_refuses_nothing(tmp_path: Path) -> None:
    tokenizer = byte_tokenizer("<eos>{{ messages[0]['content'] }}")
    tokenizer.unk_token = "<eos>"
    tokenizer.save_pretrained(tmp_path)
    tiny_llama(259).save_pretrained(tmp_path)
    parts = load_parts(recipe_of(tmp_path, prompt={"mode": "chat"}))
    assert parts.policy.tokenizer.unk_token_id == parts.prompts.tokens(parts.data.train[0])[0] == 2


@pytest.mark.parametrize("where", ["forward", "cache"])
def test_what_the_code_of_a_family_raises_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    byte_tokenizer().save_pretrained(tmp_path)
    tiny_llama(259).save_pretrained(tmp_path)
    plain = LlamaForCausalLM.forward

    @wraps(plain)  # whose arguments are looked at
    def broken(self: LlamaForCausalLM, *given: object, **named: object) -> object:
        if where == "forward" or named.get(cache_argument(plain)) is not None:
            raise IndexError("tuple index out of range")
        return plain(self, *given, **named)

    monkeypatch.setattr(LlamaForCausalLM, "forward", broken)
    # As in a family whose steps are not written out here.
    monkeypatch.setattr("unsqueeze.rollout.hf.steps_as_the_model", lambda model: False)
    recipe = recipe_of(tmp_path)
    doing = "reading four tokens" if where == "forward" else "sampling from it"
    with pytest.raises(UserError, match=f"the code of its family failed while {doing}: tuple index out of range"):
        rehearse(recipe, load_parts(recipe))
