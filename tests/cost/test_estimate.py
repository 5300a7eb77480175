"""The cost model against numbers derived by hand, against real models, and the knobs it turns."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

import unsqueeze as uq
from small_runs import small_recipe
from tiny_models import tiny_gpt2
from unsqueeze.config.load import load_recipe, shipped_recipes
from unsqueeze.config.model_settings import LoraSettings
from unsqueeze.cost.advise import suggestions
from unsqueeze.cost.compute import Speed, estimate_duration, forward_flops
from unsqueeze.cost.devices import DEVICES, Device
from unsqueeze.cost.disk import estimate_disk
from unsqueeze.cost.known import KNOWN_CONFIGS
from unsqueeze.cost.memory import (
    Layout,
    activation_bytes_per_token,
    estimate_memory,
    kv_bytes_per_token,
    microbatch_tokens,
)
from unsqueeze.cost.shape import adapter_parameters, model_shape
from unsqueeze.cost.workload import Lengths, count_workload
from unsqueeze.models import embedded_model_path

SMOLLM2 = {
    "model_type": "llama",
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
    "tie_word_embeddings": True,
}
QWEN3 = {
    "model_type": "qwen3",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "vocab_size": 128,
    "tie_word_embeddings": False,
}
LENGTHS = Lengths(longest_prompt=1024, mean_prompt=200, longest_response=3072, mean_response=800)
QWEN = model_shape(KNOWN_CONFIGS["Qwen/Qwen2.5-Math-1.5B"])


def on_meta(config: dict[str, object]) -> int:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config))
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    "config",
    [SMOLLM2, QWEN3, KNOWN_CONFIGS["Qwen/Qwen2.5-Math-1.5B"], SMOLLM2 | {"mlp_bias": True, "attention_bias": True}],
)
def test_parameters_are_those_of_the_model_itself(config: dict[str, object]):
    assert model_shape(config).num_parameters == on_meta(config)


def test_parameters_of_the_embedded_model_and_of_the_papers():
    config = json.loads((embedded_model_path() / "config.json").read_text())
    assert model_shape(config).num_parameters == on_meta(config)
    # As the Qwen2.5 report and the model cards state them: 1.54B and 7.61B; R1's small one has a head of its own.
    published = {"Qwen/Qwen2.5-Math-1.5B": 1.54e9, "Qwen/Qwen2.5-Math-7B": 7.61e9}
    for name, count in published.items():
        assert model_shape(KNOWN_CONFIGS[name]).num_parameters == pytest.approx(count, rel=0.005)
    # 28 · (2·1536·(1536 + 256) + 3·1536·8960 + 2·1536 + 1536 + 2·256) + 151936·1536 + 1536
    assert QWEN.num_parameters == 28 * (5_505_024 + 41_287_680 + 3_072 + 2_048) + 233_373_696 + 1_536


def test_adapters_are_counted_as_peft_makes_them():
    peft = pytest.importorskip("peft")
    from tiny_models import tiny_llama

    model = tiny_llama()
    shape = model_shape(model.config.to_dict())
    for targets in ("all-linear", ["q_proj", "down_proj"]):
        adapted = peft.get_peft_model(tiny_llama(), peft.LoraConfig(r=4, target_modules=targets, task_type="CAUSAL_LM"))
        real = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
        assert adapter_parameters(shape, LoraSettings(rank=4, target_modules=targets)) == real


def test_activations_are_what_autograd_keeps():
    """fp32, without recomputing: the tensors that layers save for the backward pass, counted by PyTorch's own hook."""
    from tiny_models import tiny_llama

    model = tiny_llama()
    shape = model_shape(model.config.to_dict())
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}

    def kept(length: int) -> int:
        storages: dict[int, int] = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                storages[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            output = model.base_model(input_ids=torch.ones((1, length), dtype=torch.long), use_cache=False)
        assert output.last_hidden_state.requires_grad
        return sum(storages.values())

    measured = (kept(96) - kept(32)) / 64  # per token, constants apart
    assert activation_bytes_per_token(shape, bf16=False, recomputed=False) == pytest.approx(measured, rel=0.25)


def test_the_memory_of_the_papers_recipe_by_hand():
    recipe = load_recipe("paper/1.5b-3k-sps-grpo", ["rollout.engine=hf"])
    work = count_workload(recipe, num_train=3000, num_test=150)
    memory = estimate_memory(recipe, QWEN, work, LENGTHS, Layout())
    count = QWEN.num_parameters
    assert memory.weights == memory.reference == memory.gradients == 4 * count
    assert memory.moments == 2 * 8 * count  # AdamW's for RL, and a set for IRL
    # 256 rows of 4,096 tokens; a token: 28 layers, 256 wide keys (fp32) and values (bf16).
    assert memory.kv_cache == 256 * 4096 * 28 * 256 * 6
    assert kv_bytes_per_token(QWEN, bf16=False) == 2 * 28 * 256 * 4
    # Four rows of 4,096 in a micro-batch; recomputed, a token leaves 28 inputs of 1,536, and a layer its own.
    own = 16 * 1536 + 10 * 1536 + 2 * (3 * 1536 + 2 * 256) + 8 * 8960
    assert memory.activations == 16_384 * (28 * 1536 * 4 + own)
    assert memory.peak == memory.generating > memory.updating


@pytest.mark.parametrize(
    ("allowed", "on_gpu", "tokens"), [(8192, True, 8000), (8192, False, 4000), (1024, False, 1000)]
)
def test_a_micro_batch_has_few_tokens_on_a_cpu(allowed: int, on_gpu: bool, tokens: int):
    # Rows of 500 tokens: 16, 8 and 2 of them.
    recipe = load_recipe("paper/1.5b-3k-sps-grpo", [f"rl.tokens_per_microbatch={allowed}"])
    work = count_workload(recipe, num_train=3000, num_test=150)
    lengths = replace(LENGTHS, longest_prompt=100, longest_response=400)
    assert microbatch_tokens(recipe, work, lengths, Layout(on_gpu=on_gpu)) == tokens


def test_sharding_divides_what_belongs_to_weights_and_ddp_does_not():
    recipe = load_recipe("paper/7b-3k-sps-grpo", ["rollout.engine=hf"])
    shape = model_shape(KNOWN_CONFIGS[recipe.model.path])
    work = count_workload(recipe, num_train=3000, num_test=150)
    alone, sharded, copied = (
        estimate_memory(recipe, shape, work, LENGTHS, layout)
        for layout in (Layout(), Layout(num_devices=8, sharded=True), Layout(num_devices=8))
    )
    for item in ("weights", "moments", "reference", "gradients", "optimizer_step"):
        assert getattr(sharded, item) == getattr(alone, item) // 8
        assert getattr(copied, item) == getattr(alone, item)
    assert sharded.gathered == 4 * shape.num_parameters
    assert copied.gathered == alone.gathered == 0


def test_lora_leaves_gradients_and_moments_to_the_adapters():
    recipe = small_recipe(model={"lora": {"rank": 16}}, rl={"kl_coefficient": 0.1})
    work = count_workload(recipe, num_train=12, num_test=4)
    memory = estimate_memory(recipe, QWEN, work, LENGTHS, Layout())
    adapters = adapter_parameters(QWEN, LoraSettings())
    assert memory.gradients == 4 * adapters
    assert memory.reference == 0
    assert memory.weights == 4 * (QWEN.num_parameters + adapters)


@pytest.mark.parametrize(
    ("sections", "on_gpu", "packs"),
    [
        ({}, False, True),
        ({}, True, False),
        ({"model": {"compute_dtype": "bfloat16"}}, False, False),
        ({"model": {"lora": {"rank": 16}}}, False, False),
        ({"rollout": {"engine": "vllm"}}, False, False),
    ],
)
def test_on_a_cpu_the_hf_engine_has_a_copy_of_the_weights_while_it_generates(
    sections: dict[str, object], on_gpu: bool, packs: bool
) -> None:
    recipe = small_recipe(**sections)
    work = count_workload(recipe, num_train=12, num_test=4)
    memory = estimate_memory(recipe, QWEN, work, LENGTHS, Layout(on_gpu=on_gpu))
    assert memory.packed_weights == (4 * QWEN.matmul_parameters if packs else 0)
    without = replace(memory, packed_weights=0)
    assert memory.generating - without.generating == memory.packed_weights
    assert memory.updating == without.updating


def test_vllm_takes_its_share_while_it_is_awake():
    memory = {}
    for sleep in (True, False):
        recipe = small_recipe(rollout={"engine": "vllm", "vllm": {"gpu_memory_utilization": 0.5, "sleep": sleep}})
        work = count_workload(recipe, num_train=12, num_test=4)
        memory[sleep] = estimate_memory(recipe, QWEN, work, LENGTHS, Layout(device_memory=10**10))
        assert memory[sleep].kv_cache == memory[sleep].decoding == 0
        assert memory[sleep].generating == memory[sleep].resident + 5 * 10**9
    assert memory[False].updating == memory[True].updating + 5 * 10**9


EVEN = Device(
    name="even", peak_bf16=1e12, peak_fp32=1e12, bandwidth=1e15, memory=1, efficiency=0.5, bandwidth_share=1, layer_s=0
)


def test_a_pass_takes_two_operations_a_weight_and_three_passes_an_update():
    recipe = small_recipe()
    speed = Speed(recipe, QWEN, LENGTHS, EVEN, Layout())
    # 10 rows of 1,000 tokens that look back at 500 others; layers and head: 2 operations a weight.
    weights = 28 * (5_505_024 + 41_287_680) + 233_373_696
    operations = 2 * weights + 4 * 28 * 1536 * 500
    assert forward_flops(QWEN, 500) == operations
    assert speed.pass_s(10, 1.0) == pytest.approx(10_000 * operations / 5e11)
    assert speed.update_s(10, 0) == pytest.approx(3 * speed.pass_s(10, 1.0))
    recomputing = Speed(small_recipe(model={"gradient_checkpointing": True}), QWEN, LENGTHS, EVEN, Layout())
    assert recomputing.update_s(10, 0) == pytest.approx(4 * speed.pass_s(10, 1.0))


def test_decoding_reads_the_weights_once_a_step_where_that_is_what_counts():
    slow = Device(
        name="slow", peak_bf16=1e18, peak_fp32=1e18, bandwidth=1e9, memory=1, efficiency=1, bandwidth_share=1, layer_s=0
    )
    speed = Speed(small_recipe(rollout={"max_rows": 4}), QWEN, LENGTHS, slow, Layout())
    weights = 4 * QWEN.matmul_parameters
    cache = 800 * (200 + 400) * kv_bytes_per_token(QWEN, bf16=False)
    # One response; then eight, in two waves of four rows.
    assert speed.generate_s(1, 1) == pytest.approx((3072 * weights + cache) / 1e9, rel=1e-3)
    assert speed.generate_s(8, 1) == pytest.approx((2 * 3072 * weights + 8 * cache) / 1e9, rel=1e-3)


@pytest.mark.parametrize(
    ("sections", "scored"),
    [
        ({}, 0),
        ({"rl": {"kl_coefficient": 0.1}}, 6),  # the reference, in every step
        ({"model": {"compute_dtype": "bfloat16"}}, 4),  # every step but the first of a generation of three
        ({"rl": {"sampler_correction": "token"}}, 4),
        ({"rollout": {"engine": "vllm"}}, 4),
        ({"model": {"compute_dtype": "bfloat16"}, "rl": {"kl_coefficient": 0.1}}, 10),
        ({"model": {"compute_dtype": "bfloat16"}, "rl": {"steps_per_generation": 1}}, 0),
    ],
)
def test_scoring_takes_a_pass_a_step_where_a_step_cannot_score_itself(sections: dict, scored: int):
    recipe = small_recipe(
        **sections | {"irl": None, "rl": {"steps": 6, "steps_per_generation": 3} | sections.get("rl", {})}
    )
    work = count_workload(recipe, num_train=12, num_test=4)
    speed = Speed(recipe, QWEN, LENGTHS, EVEN, Layout())
    duration = estimate_duration(recipe, speed, work, num_trained=0, checkpoint_bytes=0, judged_in_place=True)
    assert duration.scoring == pytest.approx(scored * speed.pass_s(work.rollouts_per_step, 1.0))


def test_irl_is_a_few_percent_of_rl_in_the_papers_recipe():
    """The paper measured 3.3 % (Table 5), with its own stack; groups without information are not left out here."""
    recipe = load_recipe("paper/1.5b-3k-sps-grpo")
    work = count_workload(recipe, num_train=3000, num_test=150)
    disk = estimate_disk(recipe, work, LENGTHS, num_parameters=QWEN.num_parameters, num_trainable=QWEN.num_parameters)
    speed = Speed(recipe, QWEN, LENGTHS, DEVICES["h100"], Layout())
    duration = estimate_duration(
        recipe, speed, work, num_trained=QWEN.num_parameters, checkpoint_bytes=disk.checkpoint, judged_in_place=False
    )
    assert 0.002 < duration.irl_share < 0.05
    assert duration.total == pytest.approx(duration.rl + duration.irl + duration.evaluating + duration.saving)


def cost_of(recipe_shape, work):
    return lambda recipe, layout: estimate_memory(recipe, recipe_shape, work, LENGTHS, layout)


def test_what_is_suggested_fits_and_less_of_it_does_not():
    recipe = load_recipe("paper/7b-3k-sps-grpo", ["rollout.engine=hf"])
    shape = model_shape(KNOWN_CONFIGS[recipe.model.path])
    cost = cost_of(shape, count_workload(recipe, num_train=3000, num_test=150))
    layout, limit = Layout(num_devices=8, sharded=True), 80 * 10**9
    (change, *_) = suggestions(recipe, layout, cost, limit)
    assert len(change) == 1
    name, before, _, after = change[0].split()
    assert (name, before) == ("rollout.max_rows", "256")
    for rows, fits in ((int(after), True), (int(after) * 8 // 7 + 8, False)):
        changed = recipe.model_copy(update={"rollout": recipe.rollout.model_copy(update={"max_rows": rows})})
        assert (cost(changed, layout).peak <= limit) is fits


def test_several_changes_are_suggested_where_one_is_not_enough():
    recipe = load_recipe("paper/1.5b-3k-sps-grpo", ["model.gradient_checkpointing=false", "rollout.engine=hf"])
    cost = cost_of(QWEN, count_workload(recipe, num_train=3000, num_test=150))
    found = suggestions(recipe, Layout(), cost, 80 * 10**9)
    assert any(
        any(text.startswith("rollout.max_rows 256 ->") for text in each)
        and "model.gradient_checkpointing false -> true" in each
        for each in found
    )
    assert all(not set(one) < set(other) for one in found for other in found)
    assert suggestions(recipe, Layout(), cost, 10**9) == []


def test_what_fits_already_needs_nothing():
    cost = cost_of(model_shape(SMOLLM2), count_workload(small_recipe(), num_train=12, num_test=4))
    assert suggestions(small_recipe(), Layout(), cost, 10**12) == [[]]


@pytest.mark.parametrize("name", [n for n in shipped_recipes() if n.startswith("paper/")][::9])
def test_the_papers_recipes_are_planned_without_files(command, name: str):
    code, out, err = command("plan", name, "--gpus", "8", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["fits"]
    assert found["model"]["path"] in KNOWN_CONFIGS
    assert found["memory"]["peak"] == max(found["memory"]["generating"], found["memory"]["updating"])
    assert found["fits"] is (not found["to_fit"])


def test_a_plan_that_does_not_fit_says_what_to_change_and_exits_1(command):
    asked = ("plan", "paper/1.5b-3k-sps-grpo", "--memory", "80", "--set", "rollout.engine=hf")
    code, out, _ = command(*asked)
    assert code == 1
    assert "It does NOT fit: generating needs" in out
    assert "it would with rollout.max_rows 256 ->" in out
    code, out, _ = command(*asked, "--json")
    assert code == 1
    assert json.loads(out)["fits"] is False


def test_the_recipe_says_how_weights_are_held(command):
    """Bytes of weights on each of eight devices: 4 P with ddp, an eighth of that with fsdp; one device holds all."""
    count = model_shape(KNOWN_CONFIGS["Qwen/Qwen2.5-Math-7B"]).num_parameters
    for strategy, gpus, fits, weights in (
        ("ddp", 8, False, 4 * count),
        ("fsdp", 8, True, 4 * count // 8),
        ("fsdp", 1, False, 4 * count),
    ):
        code, out, _ = command(
            "plan", "paper/7b-3k-sps-grpo", "--gpus", str(gpus), "--memory", "80", "--json",
            "--set", f"parallel.strategy={strategy}",
        )  # fmt: skip
        found = json.loads(out)
        assert (found["fits"], found["memory"]["weights"]) == (fits, weights)
        assert code == (0 if fits else 1)
        if not fits:
            change = "parallel.strategy ddp -> fsdp" if strategy == "ddp" else "8 GPUs"
            assert [change] in found["to_fit"]


def test_bf16_and_a_retention_are_proposed_where_they_save_something():
    settings = ["model.compute_dtype=float32", "checkpoint.keep_last=null", "data.num_validation=null"]
    (needed,) = uq.plan("paper/7b-3k-sps-grpo", gpus=8, overrides=settings).values()
    half, kept = needed.savings
    assert half.changes == ("model.compute_dtype float32 -> bfloat16",)
    assert half.before == needed.estimate.duration.total > 2 * half.after
    assert kept.changes == ("checkpoint.keep_last null -> 1", "data.num_validation null -> 64")
    # Seven checkpoints; then the last, the best, and one being written.
    saved = 4 * needed.estimate.disk.checkpoint
    assert kept.before - kept.after == pytest.approx(saved, rel=0.01)
    assert kept.before == needed.estimate.disk.total
    (small,) = uq.plan("smoke", device="cpu").values()
    assert small.savings == []


def test_a_model_that_is_not_at_hand_needs_its_config(command, tmp_path: Path):
    code, _, err = command("plan", "smoke", "--set", "model.path=some/model")
    assert code == 2
    assert "--config FILE" in err
    assert "Qwen/Qwen2.5-Math-7B" in err
    config = tmp_path / "config.json"
    config.write_text(json.dumps(tiny_gpt2().config.to_dict()))
    code, out, err = command("plan", "smoke", "--set", "model.path=some/model", "--config", str(config))
    assert code == 0, err
    assert "some/model" in out
    config.write_text("[1]")
    code, _, err = command("plan", "smoke", "--set", "model.path=some/model", "--config", str(config))
    assert code == 2
    assert "holds no object" in err
    config.write_text("[" * 100_000)
    code, _, err = command("plan", "smoke", "--set", "model.path=some/model", "--config", str(config))
    assert code == 2
    assert "cannot be read as a model's config.json" in err
