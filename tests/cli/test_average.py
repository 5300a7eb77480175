"""``unsqueeze average``: weights between two models, by hand, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

import unsqueeze as uq
from small_runs import judging_by_hash, random_recipe, run_to_end
from tiny_models import tiny_llama, tiny_qwen2, tiny_tokenizer
from unsqueeze.errors import UserError


def saved(model: torch.nn.Module, folder: Path) -> Path:
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return dict(AutoModelForCausalLM.from_pretrained(folder, dtype="auto").named_parameters())


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return saved(tiny_llama(seed=1), tmp_path / "base"), saved(tiny_llama(seed=2), tmp_path / "trained")


def test_weights_are_between_the_two(pair: tuple[Path, Path], tmp_path: Path, command: Callable) -> None:
    out = tmp_path / "between"
    code, _, err = command("average", *map(str, pair), "--share", "0.25", "--out", str(out))
    assert code == 0, err
    base, trained, between = (weights_of(folder) for folder in (*pair, out))
    assert between.keys() == trained.keys()
    for name, weight in between.items():
        torch.testing.assert_close(weight, 0.75 * base[name] + 0.25 * trained[name])
    assert any(not torch.equal(base[name], trained[name]) for name in base)
    assert json.loads((out / "average.json").read_text()) == {
        "base": str(pair[0]), "trained": str(pair[1]), "share": 0.25, "last": 1
    }  # fmt: skip


@pytest.mark.parametrize(("share", "same"), [(0.0, 0), (1.0, 1)])
def test_the_ends_are_the_models_themselves(pair: tuple[Path, Path], tmp_path: Path, share: float, same: int) -> None:
    uq.average(*pair, share=share, out=tmp_path / "out")
    found, expected = weights_of(tmp_path / "out"), weights_of(pair[same])
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_run_is_its_last_checkpoint_and_may_be_written_in_bf16(tmp_path: Path) -> None:
    with judging_by_hash():
        run, _ = run_to_end(random_recipe(rl={"steps": 2}), tmp_path / "run")
    base = random_recipe().model.path
    assert uq.average(base, tmp_path / "run", out=tmp_path / "out", dtype="bfloat16") == sum(
        parameter.numel() for parameter in run.policy.model.parameters()
    )
    found, start = weights_of(tmp_path / "out"), weights_of(Path(base))
    trained = dict(run.policy.model.named_parameters())
    for name, weight in found.items():
        expected = torch.lerp(start[name].float(), trained[name], 0.5).bfloat16()
        assert torch.equal(weight, expected), name


def test_the_mean_over_the_last_checkpoints_of_a_run(tmp_path: Path, command: Callable) -> None:
    with judging_by_hash():
        run_to_end(random_recipe(rl={"steps": 4}, checkpoint={"every_steps": 1}), tmp_path / "run")
    base, run = random_recipe().model.path, str(tmp_path / "run")
    code, out, err = command("average", base, run, "--share", "1", "--last", "3", "--out", str(tmp_path / "mean"))
    assert code == 0, err
    assert "1 of the mean over the last 3 checkpoints" in " ".join((out + err).split())
    of_steps = [weights_of(tmp_path / "run" / "checkpoints" / f"step-{step:06d}" / "policy") for step in (2, 3, 4)]
    for name, weight in weights_of(tmp_path / "mean").items():
        torch.testing.assert_close(weight, sum(each[name] for each in of_steps) / 3, rtol=0, atol=1e-6)
        assert not torch.equal(weight, of_steps[-1][name])
    for source, last, message in (
        (run, 5, "last is 5, and .* has 4 checkpoints; ask for fewer"),
        (run, 0, "last is 0; it must be the number"),
        (base, 2, "last is 2, and .* is no run"),
    ):
        with pytest.raises(UserError, match=message):
            uq.average(base, source, last=last, out=tmp_path / "none")


def test_what_cannot_be_averaged_is_refused_and_nothing_is_written(pair: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    other = saved(tiny_qwen2(), tmp_path / "other")
    larger = saved(tiny_llama(vocab=40), tmp_path / "larger")
    for arguments, options, message in (
        (pair, {"share": 1.5}, r"share is 1\.5; it must be from 0"),
        (pair, {"dtype": "int8"}, "dtype is 'int8'"),
        ((pair[0], other), {}, "different weights: only one has model.layers.0.self_attn"),
        ((pair[0], larger), {}, r"is \[32, \d+\] in the one and \[40, \d+\] in the other"),
        ((pair[0], tmp_path / "none"), {}, "there is no such folder"),
    ):
        with pytest.raises(UserError, match=message):
            uq.average(*arguments, out=out, **options)
    assert not out.exists()
    with pytest.raises(UserError, match="exists already"):
        uq.average(*pair, out=tmp_path)
