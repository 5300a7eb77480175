"""`irl --into`: the weights of a trainer's checkpoint change, and nothing else of it; adapters stay adapters."""

import json
from pathlib import Path

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

import unsqueeze as uq
from trainer_files import chat, chat_checkpoint
from unsqueeze.errors import UserError
from unsqueeze.training.trainer_checkpoint import is_adapter

STATE = {"optimizer.pt": b"adam", "scheduler.pt": b"cosine", "rng_state.pth": b"random", "training_args.bin": b"args"}


def as_checkpoint(folder: Path) -> Path:
    """What transformers' Trainer keeps beside the weights."""
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": 7}))
    for name, data in STATE.items():
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return as_checkpoint(chat_checkpoint(tmp_path_factory.mktemp("run") / "checkpoint-7"))


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("demos") / "demos.jsonl"
    rows = [{"messages": [*chat(f"q{row}"), {"role": "assistant", "content": f"a{row}"}]} for row in range(4)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_only_the_weights_change_and_the_phase_is_the_one_on_the_model(checkpoint: Path, demos: Path, tmp_path: Path):
    before = files_of(checkpoint)
    result = uq.irl(None, demos, into=checkpoint, out=tmp_path / "checkpoint-7", steps=2, learning_rate=1e-3)
    after = files_of(tmp_path / "checkpoint-7")
    assert files_of(checkpoint) == before  # a copy
    assert after.keys() - before.keys() == {"irl_report.json"}
    assert {name for name in before if before[name] != after[name]} == {"model.safetensors"}
    assert json.loads(after["irl_report.json"])["into"] == {"checkpoint": str(checkpoint), "global_step": 7}
    alone = uq.irl(checkpoint, demos, out=tmp_path / "alone", steps=2, learning_rate=1e-3)
    assert result.report.nll_after == alone.report.nll_after
    ours, theirs = (load_file(tmp_path / name / "model.safetensors") for name in ("checkpoint-7", "alone"))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_weights_keep_their_files_and_their_precision(checkpoint: Path, demos: Path, tmp_path: Path):
    halves = tmp_path / "checkpoint-8"
    chat_checkpoint(halves)
    weights = {name: weight.to(torch.bfloat16) for name, weight in load_file(halves / "model.safetensors").items()}
    (halves / "model.safetensors").unlink()
    names = sorted(weights)
    parts = {f"model-0000{part}-of-00002.safetensors": names[part - 1 :: 2] for part in (1, 2)}
    for file, held in parts.items():
        save_file({name: weights[name] for name in held}, halves / file, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": {name: file for file, held in parts.items() for name in held}}
    (halves / "model.safetensors.index.json").write_text(json.dumps(index))
    as_checkpoint(halves)
    uq.irl(None, demos, into=halves, out=tmp_path / "out", steps=2, learning_rate=1e-2)
    for file, held in parts.items():
        written = load_file(tmp_path / "out" / file)
        assert sorted(written) == sorted(held)
        assert {weight.dtype for weight in written.values()} == {torch.bfloat16}
    assert not torch.equal(written[held[0]], weights[held[0]])


@pytest.fixture(scope="module")
def adapter(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter") / "checkpoint-3"
    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    torch.manual_seed(0)
    config = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], lora_dropout=0.1, task_type="CAUSAL_LM")
    handle = peft.get_peft_model(model, config)
    for name, weight in handle.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    handle.save_pretrained(folder)
    return as_checkpoint(folder)


def test_an_adapter_is_trained_and_written_as_an_adapter(adapter: Path, checkpoint: Path, demos: Path, tmp_path: Path):
    result = uq.irl(None, demos, into=adapter, out=tmp_path / "out", steps=3, learning_rate=1e-2)
    assert result.report.nll_after < result.report.nll_before
    before, after = files_of(adapter), files_of(tmp_path / "out")
    assert {name for name in before if before[name] != after[name]} == {"adapter_model.safetensors"}
    old, new = (load_file(folder / "adapter_model.safetensors") for folder in (adapter, tmp_path / "out"))
    assert old.keys() == new.keys()
    assert all(not torch.equal(old[name], new[name]) for name in old)
    # What is written is what was measured: the adapter on its model gives the NLL that the phase ended with.
    base = AutoModelForCausalLM.from_pretrained(checkpoint)
    merged = tmp_path / "merged"
    peft.PeftModel.from_pretrained(base, str(tmp_path / "out")).merge_and_unload().save_pretrained(merged)
    for path in checkpoint.glob("*token*"):
        (merged / path.name).write_bytes(path.read_bytes())
    (merged / "chat_template.jinja").write_bytes((checkpoint / "chat_template.jinja").read_bytes())
    again = uq.irl(merged, demos, out=tmp_path / "again", steps=1, learning_rate=1e-9)
    assert again.report.nll_before == pytest.approx(result.report.nll_after, abs=1e-5)
    # And so does select, whose --model may be an adapter.
    rollouts = tmp_path / "rollouts.jsonl"
    lines = [
        json.loads(line) | {"problem_id": str(row), "reward": 0}
        for row, line in enumerate(demos.read_text().splitlines())
    ]
    rollouts.write_text("".join(json.dumps(line) + "\n" for line in lines))
    chosen = list(uq.select(rollouts, model=tmp_path / "out"))
    tokens = sum(demo["num_tokens"] for demo in chosen)
    nll = -sum(demo["num_tokens"] * demo["mean_logp"] for demo in chosen) / tokens
    assert nll == pytest.approx(result.report.nll_after, abs=1e-5)
    # Without a trainer's state it is an adapter all the same.
    alone = tmp_path / "alone"
    alone.mkdir()
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        (alone / name).write_bytes((adapter / name).read_bytes())
    uq.irl(alone, demos, out=tmp_path / "alone-irl", steps=3, learning_rate=1e-2)
    new_alone = load_file(tmp_path / "alone-irl" / "adapter_model.safetensors")
    assert all(torch.equal(new_alone[name], new[name]) for name in new)


@pytest.mark.parametrize(
    ("mark", "words"),
    [
        ("zero_to_fp32.py", "is a checkpoint of DeepSpeed"),
        ("global_step7", "is a checkpoint of DeepSpeed"),
        ("pytorch_model_fsdp_0", "is a checkpoint of FSDP"),
    ],
)
def test_folders_in_pieces_are_refused(mark: str, words: str, checkpoint: Path, demos: Path, tmp_path: Path):
    folder = tmp_path / "checkpoint-7"
    folder.mkdir()
    for name, data in files_of(checkpoint).items():
        (folder / name).write_bytes(data)
    (folder / mark).mkdir()
    with pytest.raises(UserError, match=words):
        uq.irl(None, demos, into=folder, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_model_with_an_adapter_beside_it_is_a_model(adapter: Path, checkpoint: Path, tmp_path: Path):
    for folder in (adapter, checkpoint):
        for name, data in files_of(folder).items():
            (tmp_path / name).write_bytes(data)
    assert [is_adapter(folder) for folder in (adapter, checkpoint, tmp_path)] == [True, False, False]


def test_what_no_trainer_goes_on_from_is_refused(checkpoint: Path, adapter: Path, demos: Path, tmp_path: Path):
    bare = chat_checkpoint(tmp_path / "bare")
    with pytest.raises(UserError, match=r"has no trainer_state.json and no optimizer.pt and no scheduler.pt.*--into"):
        uq.irl(None, demos, into=bare, out=tmp_path / "out")
    with pytest.raises(UserError, match="either a model or"):
        uq.irl(bare, demos, into=checkpoint, out=tmp_path / "out")
    other = tmp_path / "ia3"
    other.mkdir()
    for name, data in files_of(adapter).items():
        (other / name).write_bytes(data)
    config = json.loads((other / "adapter_config.json").read_text())
    peft.IA3Config(
        target_modules=["q_proj"], base_model_name_or_path=config["base_model_name_or_path"]
    ).save_pretrained(other)
    with pytest.raises(UserError, match="of the kind IA3, and only LoRA is trained"):
        uq.irl(None, demos, into=other, out=tmp_path / "out")


def test_the_command_takes_a_model_or_a_checkpoint(command, checkpoint: Path, demos: Path, tmp_path: Path):
    given = ["--demos", str(demos), "--out", str(tmp_path / "out"), "--steps", "1"]
    code, _, err = command("irl", *given)
    assert (code, "either a model or" in err) == (2, True)
    code, _, err = command("irl", "--into", str(checkpoint), *given)
    assert code == 0, err
    assert (tmp_path / "out" / "optimizer.pt").read_bytes() == b"adam"
