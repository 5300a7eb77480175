"""Families of models, and look-alikes of models from public reports: does each train, and on what it samples from?

    python benchmarks/families.py --out docs/results/model-families.md       # all; some 15 minutes on a core
    python benchmarks/families.py --only phi3 bamba reports                  # some families, and the reports

Every causal language model of the installed transformers whose configuration can be made tiny is made with random
weights and goes through what a run does: it is loaded, rehearsed and saved as ``unsqueeze train --check`` does it,
sampled (prompts of five lengths, 3 responses each of up to 20 tokens), scored by the trainer, and trained one step. A
family counts as held if the engine, the trainer and a plain forward pass of each sequence alone agree, or if it is
refused in a sentence.

Each is tried in a process of its own, with a bound on memory and time; nothing is downloaded.
"""

import argparse
import functools
import json
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from family_reports import BOS, EOS, PAD, REPORTS, VOCABULARY, Report, byte_tokenizer
from pages import deliver, made_by
from unsqueeze.algos.objectives import LossOutput
from unsqueeze.config.load import check_recipe
from unsqueeze.config.recipe import Recipe
from unsqueeze.config.settings import OptimizerSettings
from unsqueeze.errors import UnsqueezeError, one_line
from unsqueeze.policy.batch import Row
from unsqueeze.policy.context import rope_switch
from unsqueeze.policy.loading import without_progress_bars
from unsqueeze.policy.optimize import make_optimizer, optimizer_step
from unsqueeze.policy.policy import Policy
from unsqueeze.rollout.hf import HfEngine
from unsqueeze.rollout.types import Sampling
from unsqueeze.training.preflight import preflight
from unsqueeze.training.sampler_check import sampler_gap
from unsqueeze.training.setup import load_parts

MEMORY_BYTES = 6 * 2**30
SECONDS = 120
MOST_PARAMETERS = 3_000_000
AGREES_NATS = 1e-4
PROMPTS = ([BOS, 5, 6, 7], [BOS, 9], [BOS, 4, 4, 4, 8, 10], [BOS, 9, 3], [BOS, 9, 4, 4])

SMALL: dict[str, Any] = {
    **dict.fromkeys(("hidden_size", "n_embd", "d_model", "word_embed_proj_dim", "embedding_size", "lru_width"), 32),
    **dict.fromkeys(("attention_hidden_size",), 32),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "n_inner", "d_ff", "dff", "ffn_hidden_size"), 48),
    **dict.fromkeys(("intermediate_size_mlp", "decoder_ffn_dim", "encoder_ffn_dim"), 48),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "num_layers", "n_layers", "decoder_layers", "encoder_layers"), 2),
    **dict.fromkeys(("num_decoder_layers", "num_encoder_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "n_head", "num_heads", "n_heads", "decoder_attention_heads"), 4),
    **dict.fromkeys(("encoder_attention_heads", "mamba_n_heads", "mamba_num_heads", "linear_num_value_heads"), 4),
    **dict.fromkeys(("num_key_value_heads", "num_kv_heads", "linear_num_key_heads"), 2),
    **dict.fromkeys(("head_dim", "qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim", "rotary_dim", "d_kv"), 8),
    "index_n_heads": 8,  # with few, all are negative for many keys, and which of them are read is chosen among equals
    **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim", "index_head_dim"), 8),
    **dict.fromkeys(("mamba_d_head", "mamba_head_dim", "q_lora_rank", "kv_lora_rank", "moe_intermediate_size"), 16),
    **dict.fromkeys(("shared_expert_intermediate_size", "qk_head_dim"), 16),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "index_topk"), 4),
    **dict.fromkeys(("state_size", "mamba_d_state", "ssm_state_size", "conv_kernel", "time_step_rank"), 4),
    **dict.fromkeys(("num_experts_per_tok", "moe_top_k", "moe_k", "mlp_ratio"), 2),
    **dict.fromkeys(("n_shared_experts", "n_group", "topk_group", "first_k_dense_replace", "mamba_n_groups"), 1),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "max_seq_len", "context_length"), 128),
    **dict.fromkeys(("sliding_window", "attention_window_size", "attention_chunk_size"), 6),
    **dict.fromkeys(("mamba_chunk_size", "chunk_size"), 8),
    "vocab_size": VOCABULARY,
    "initializer_range": 0.2,
    "pad_token_id": PAD,
    "bos_token_id": BOS,
    "eos_token_id": EOS,
}
"""Values by the names that configurations use for them."""

FALLBACKS: tuple[dict[str, Any], ...] = (
    {},
    {"head_dim": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "num_key_value_heads": 4},
    {"head_dim": None, "num_key_value_heads": 4},
    {"layer_types": ["full_attention", "full_attention"]},
    {"layer_types": ["linear_attention", "full_attention"]},
    {"layer_types": ["sliding_attention", "full_attention"]},
    {"attn_layer_indices": [1]},
    {"attn_layer_period": 2, "attn_layer_offset": 1},
    {"layer_types": ["mamba", "attention"]},
    {"mamba_d_ssm": 64},
)
"""What is tried on top, one after the other, until a model can be made."""


def tiny_model(model_type: str) -> PreTrainedModel:
    """A model of this family with at most MOST_PARAMETERS random weights. ValueError where there is none."""
    config_class = CONFIG_MAPPING[model_type]
    default = config_class()
    known = {
        name: value
        for name, value in SMALL.items()
        if hasattr(default, name) and not isinstance(getattr(default, name), list | tuple | dict)
    }
    for name in ("sliding_window", "head_dim", "q_lora_rank"):
        if getattr(default, name, None) is None:
            known.pop(name, None)
    reasons = []
    for further in FALLBACKS:
        values = {**known, **{name: value for name, value in further.items() if hasattr(default, name)}}
        try:
            with torch.device("meta"):
                shape = AutoModelForCausalLM.from_config(config_class(**values))
            number = sum(parameter.numel() for parameter in shape.parameters())
            if number > MOST_PARAMETERS:
                raise ValueError(f"{number:,} parameters at the least")
            torch.manual_seed(0)
            model = AutoModelForCausalLM.from_config(config_class(**values)).float().eval()
            with torch.no_grad():
                model(torch.tensor([[1, 5, 6, 7, 8, 9, 10, 11]]), use_cache=True)
            return model
        except Exception as error:  # noqa: BLE001 - a configuration that is made up can fail in any way
            reasons.append(one_line(error, 80))
    raise ValueError(reasons[0])


def recipe_of(folder: Path, **sections: Any) -> Recipe:
    """Sums, asked of the model in a folder."""
    data = {"kind": "jsonl"}
    for split, added in (("train", 1), ("test", 2)):
        problems = [{"problem": f"{i} + {added} = ?", "answer": str(i + added)} for i in range(4)]
        path = folder / f"{split}.jsonl"
        path.write_text("".join(json.dumps(problem) + "\n" for problem in problems), encoding="utf-8")
        data[f"{split}_path"] = str(path)
    raw = {"name": "tried", "threads": 1, "rollout": {"max_tokens": 8}, "rl": {"prompts_per_step": 2}, "data": data}
    raw["model"] = {"path": str(folder), "device": "cpu"}
    return check_recipe(raw | sections, "benchmark")


def gaps(policy: Policy) -> tuple[float, float, str | None]:
    """The largest |difference| in nats of the engine's and of the trainer's log-probs from a plain forward pass's.

    With them what a run says to its first rollouts, if it refuses them. Of a token the plain pass is over the tokens
    before it alone, where the length of a sequence changes the model.
    """
    model = policy.model
    groups = HfEngine(model, policy.tokenizer, max_rows=8).generate(
        PROMPTS, 3, Sampling(max_tokens=20), seeds=list(range(len(PROMPTS)))
    )
    drawn = [(prompt, each) for prompt, group in zip(PROMPTS, groups, strict=True) for each in group]
    rows = [Row(prompt_tokens=np.asarray(p, np.int32), tokens=each.tokens, weight=0.0) for p, each in drawn]
    scored = policy.logp(rows, max_tokens=200)
    engine = trainer = 0.0
    for (prompt, each), logp in zip(drawn, scored, strict=True):
        ids = [*prompt, *each.tokens.tolist()]
        with torch.no_grad():
            if rope_switch(model) is None:
                logits_TV = model(torch.tensor([ids]), use_cache=False).logits[0, len(prompt) - 1 : -1]
            else:
                firsts = [ids[:end] for end in range(len(prompt), len(ids))]
                logits_TV = torch.stack([model(torch.tensor([i]), use_cache=False).logits[0, -1] for i in firsts])
        plain = logits_TV.float().log_softmax(-1)[torch.arange(each.num_tokens), torch.from_numpy(each.tokens).long()]
        engine = max(engine, float(np.abs(each.logp_raw - plain.numpy()).max()))
        trainer = max(trainer, float(np.abs(logp - plain.numpy()).max()))
    refusal = sampler_gap(policy, rows, [each.logp_raw for _, each in drawn], max_tokens=200).refusal("hf")
    return engine, trainer, refusal


def train_once(policy: Policy) -> float:
    """The norm of the gradient of one step on the likelihood of one response."""
    row = Row(prompt_tokens=np.array([BOS, 5], np.int32), tokens=np.array([6, 7, EOS], np.int32), weight=1 / 3)
    optimizer = make_optimizer(policy, OptimizerSettings(learning_rate=1e-4))

    def loss(logp_NT: torch.Tensor, entropy_NT: torch.Tensor, batch: Any) -> LossOutput:
        weights_NT = batch.weights_N[:, None] * batch.mask_NT
        return LossOutput(-(weights_NT * logp_NT).sum(), weights_NT.sum(), {})

    return optimizer_step(policy, optimizer, [row], loss, tokens_per_microbatch=64, max_grad_norm=1.0).grad_norm


def tried(folder: Path, **sections: Any) -> dict[str, Any]:
    """What came out: gaps and a gradient, or the sentence of the refusal."""
    try:
        recipe = recipe_of(folder, **sections)
        parts = load_parts(recipe)
        preflight(recipe, parts, folder / "run")
        engine, trainer, refusal = gaps(parts.policy)
        if refusal is not None:
            return {"refused": refusal}
        return {"engine": engine, "trainer": trainer, "gradient": train_once(parts.policy)}
    except UnsqueezeError as error:
        return {"refused": str(error).replace(str(folder), "MODEL")}


def family(model_type: str, folder: Path) -> dict[str, Any]:
    """What comes of a family."""
    try:
        model = tiny_model(model_type)
    except Exception as error:  # noqa: BLE001 - it is made up, and may need what is not installed
        return {"not_made": one_line(error, 100)}
    model.save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return tried(folder)


def look_alike(report: Report, folder: Path) -> dict[str, Any]:
    """What comes of a model like the reported one."""
    return tried(folder, **report.make(folder))


def alone(work: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """Do ``work`` in a process of its own, with bounds."""
    folder = Path(tempfile.mkdtemp(prefix="family-"))
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)

    def child() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        signal.alarm(SECONDS)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try:
            there.send(work(folder))
        except BaseException as error:  # noqa: BLE001 - a traceback is an outcome here
            there.send({"traceback": f"{type(error).__name__}: {one_line(error, 160)}"})

    process = context.Process(target=child)
    process.start()
    there.close()
    try:
        return here.recv() if here.poll(SECONDS + 10) else {"traceback": "no end"}
    except EOFError:
        return {"traceback": "killed by the bound on memory or time"}
    finally:
        process.kill()
        process.join()
        shutil.rmtree(folder, ignore_errors=True)


def is_held(found: dict[str, Any]) -> bool:
    """Whether it agrees or is refused."""
    return "refused" in found or ("engine" in found and max(found["engine"], found["trainer"]) < AGREES_NATS)


def outcome(found: dict[str, Any]) -> str:
    """What came out, for a cell of a table."""
    if "traceback" in found:
        return f"**traceback**: {found['traceback']}"
    if "refused" in found:
        return f"refused: {found['refused']}".replace("|", "\\|").replace("\n", " ")
    return "trains" if is_held(found) else "**another distribution**"


def numbers(found: dict[str, Any]) -> str:
    if "engine" not in found:
        return "| – | – | – "
    return f"| {found['engine']:.0e} | {found['trainer']:.0e} | {found['gradient']:.2g} "


def page(families: dict[str, dict[str, Any]], reports: list[tuple[Report, dict[str, Any]]]) -> str:
    """The tables."""
    made = {name: found for name, found in families.items() if "not_made" not in found}
    held = sum(map(is_held, made.values()))
    lines = [
        "# Families of models",
        "",
        f"{made_by('torch', 'transformers')} The script says what is done.",
        "",
        "*engine* and *trainer* are the largest differences of any token, in nats, from a plain forward pass of its",
        "sequence alone, in fp32; *gradient* is the norm of the gradient of one step.",
        "",
        "## Look-alikes of models from public reports",
        "",
        f"{sum(is_held(it) for _, it in reports)} of {len(reports)} train on what they sample from, or are refused.",
        "",
        "| like | what was reported | engine | trainer | gradient | what came out |",
        "| --- | --- | ---: | ---: | ---: | --- |",
    ]
    for report, found in reports:
        told = f"[{report.trouble}](https://github.com/{report.where})" if report.where else report.trouble
        lines.append(f"| {report.like} | {told} {numbers(found)}| {outcome(found)} |")
    lines += [
        "",
        "## Families",
        "",
        f"{held} of the {len(made)} families that could be made tiny train on what they sample from, or are refused.",
        "",
        "| family | engine | trainer | gradient | what came out |",
        "| --- | ---: | ---: | ---: | --- |",
        *(f"| `{name}` {numbers(found)}| {outcome(found)} |" for name, found in made.items()),
        "",
        f"Not made: {', '.join(f'`{name}`' for name in families if name not in made) or 'none'}.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", help="families to try; 'reports' for the look-alikes")
    parser.add_argument("--found", type=Path, help="a JSON file that keeps what was found; what is in it is not tried")
    parser.add_argument("--out", type=Path, help="the page to write; standard output if it is not given")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    transformers.utils.logging.set_verbosity_error()
    without_progress_bars()
    torch.set_num_threads(1)
    wanted = sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    if options.only:
        wanted = [name for name in wanted if name in options.only]
    found: dict[str, dict[str, Any]] = {}
    if options.found is not None and options.found.exists():
        found = json.loads(options.found.read_text(encoding="utf-8"))
    works = {f"{name} family": functools.partial(family, name) for name in wanted}
    if not options.only or "reports" in options.only:
        works |= {f"{each.like}: {each.trouble}": functools.partial(look_alike, each) for each in REPORTS}
    for name, work in works.items():
        if name not in found:
            found[name] = alone(work)
            print(name, found[name], file=sys.stderr, flush=True)
            if options.found is not None:
                options.found.write_text(json.dumps(found, indent=1), encoding="utf-8")
    families = {name: found[f"{name} family"] for name in wanted}
    reports = [(each, found[key]) for each in REPORTS if (key := f"{each.like}: {each.trouble}") in works]
    text = page(families, reports)
    deliver(text, options.out)


if __name__ == "__main__":
    main()
