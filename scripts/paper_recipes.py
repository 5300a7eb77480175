"""Writes the recipes of the paper (arXiv 2604.16995), and their calibrated twins, into the package.

    python scripts/paper_recipes.py            # write src/unsqueeze/recipes/{paper,calibrated}/*.yaml
    python scripts/paper_recipes.py --check    # write nothing; exit code 1 if a file differs from what would be written

``paper/``: Qwen2.5-Math 1.5B and 7B × 3k, 5k and 10k problems × GRPO, DAPO and GSPO, each alone and under SPS: 36 files
with every constant that the paper states. ``calibrated/``: the 18 under SPS with an IRL step size that moves something.
All ship as they can run, by ``unsqueeze plan``: 1.5B on one GPU of 80 GB, 7B on eight, sharded.
Each line of a recipe says whether it is the paper's or ours, and ours say why. They are generated so that 54 files
cannot drift apart; change them here.
"""

import argparse
import sys
from pathlib import Path

RECIPES = Path(__file__).parents[1] / "src" / "unsqueeze" / "recipes"
MODELS = {"1.5b": "Qwen/Qwen2.5-Math-1.5B", "7b": "Qwen/Qwen2.5-Math-7B"}
SIZES = {"3k": 3000, "5k": 5000, "10k": 10000}
ALGORITHMS = ("grpo", "dapo", "gspo")

HEADER = """\
# Made by scripts/paper_recipes.py; change it there. Lines marked `paper` are stated in arXiv 2604.16995 (§5.1 and
# Table 2); all others are ours, where it is silent. Departures from print: docs/paper.md.
# Fits {devices} of 80 GB and more; other devices: unsqueeze plan.
"""
DEVICES = {"1.5b": "1 GPU", "7b": "8 GPUs"}

COMMON = """\
seed: 0
model:
  path: {model}  # paper
  compute_dtype: bfloat16  # forward and backward only; the weights stay fp32, or small steps are rounded away
  gradient_checkpointing: true  # memory against time; changes no result
data:
  kind: jsonl
  # Placeholders: a line of `problem` and `answer` each. Training: Openr1-Math-46k-8192 (paper). Held out: the 150
  # problems of AIME 2024, AIME 2025, BrUMO 2025, HMMT Feb 2025 and HMMT Nov 2025 (paper).
  train_path: openr1-math-46k-8192.jsonl
  test_path: contests.jsonl
  num_train: {num_train}  # paper: a uniform random subset of this size
  num_test: null
  num_validation: 64  # beside those for training; the best checkpoint is chosen by them, not by the contests
prompt:
  style: qwen-math  # these models' own: their chat template, with the request for a boxed answer as system message
rollout:
  engine: vllm  # as the paper's stack; `hf` needs no vLLM, but more memory
  temperature: 1.0  # paper
  max_tokens: 3072  # the models' context of 4,096 less 1,024 for the prompt
verify:
  credit: anywhere  # paper: Math-Verify without a format reward; the box is preferred where there is one
"""

RL = """\
rl:
  algorithm: {algorithm}
  steps: 700  # paper: the best checkpoint is chosen among the first 700 steps
  prompts_per_step: 16  # paper: 128 completions a step, 8 of each prompt
  group_size: 8  # paper
  learning_rate: 5.0e-7  # paper
  betas: [0.9, 0.95]  # the default of the paper's stack (SWIFT)
  weight_decay: 0.0  # SWIFT's 0.1 would pull by 5e-8 of a weight a step
  max_grad_norm: 1.0  # SWIFT's default
  advantage_scale: sample_std  # as TRL and SWIFT
"""

RL_OF = {
    "grpo": """\
  kl_coefficient: 0.01  # paper: beta
  reference: base  # the policy before training
  clip_low: 0.2  # the usual clip
  clip_high: 0.2
""",
    "dapo": """\
  kl_coefficient: 0.0  # Eq. 26 has no KL term
  clip_low: 0.2  # the usual clip
  clip_high: 0.28  # paper: epsilon_high
  dynamic_sampling:
    max_resample_times: 3  # paper
    rule: keep  # `ms_swift`, the paper's stack, throws informative groups away: docs/results/dynamic-sampling.md
  overlong:
    # paper (Table 2), though §5.1 knows no length-based reward and SWIFT reads this only beside its `soft_overlong`
    # reward; `--set rl.overlong=null` leaves it out.
    soft_cache_length: 2048
""",
    "gspo": """\
  kl_coefficient: 0.0  # paper: beta
  clip_low: 3.0e-4  # paper: epsilon
  clip_high: 4.0e-4  # paper: epsilon_high
  steps_per_generation: 4  # paper; each step has 16 prompts of its own, so a generation has 64
""",
}

IRL = """\
irl:
  every_passes: 1  # Algorithm 1: RL over the data, then IRL
  k: 3  # paper: 3 of the 8 completions
  pool: negatives_first  # App. C.1: negatives, topped up with positives
  quantile: 0.5  # "the lower quantile", unspecified: the lower half
  likelihood: mean  # per token, or long answers are always the unlikely ones
  steps: 4  # paper: four training steps per iteration, read as optimizer steps
  batch_size: 512  # paper
  {learning_rate}
  betas: [0.9, 0.95]  # as for RL
  weight_decay: 0.0
  schedule: constant
  optimizer_state: fresh
  aggregation: sequence_mean
"""

LITERAL_RATE = (
    "learning_rate: 5.0e-10  # paper; a thousandth of the RL step, which moves next to nothing: docs/paper.md"
)
CALIBRATED_RATE = (
    "learning_rate: 6.25e-7  # 1.25 RL steps; the paper's 5.0e-10 moves next to nothing (docs/paper.md).\n"
    "  # The ratio is the quickstart's, calibrated on Countdown; it has not been measured on these models."
)

EVALUATION = """\
evaluation:
  n: 128  # paper
  temperature: 0.7  # paper
  every_steps: 100  # paper
checkpoint:
  every_steps: 100  # paper
  keep_last: 1  # and the best; null keeps all seven
  dtype: bfloat16  # half the size, and what these models ship in
"""


PARALLEL = {
    "1.5b": "",
    "7b": """\
parallel:
  strategy: fsdp  # a piece of every weight on each device; changes results by rounding alone
""",
}


def recipe(model: str, size: str, algorithm: str, irl_rate: str | None) -> str:
    """The text of one recipe; without ``irl_rate`` plain RL."""
    method = algorithm.upper() if irl_rate is None else f"SPS on {algorithm.upper()}"
    calibrated = irl_rate == CALIBRATED_RATE
    name = ("calibrated-" if calibrated else "") + stem(model, size, algorithm, sps=irl_rate is not None)
    note = ", IRL step size calibrated" if calibrated else ""
    return "".join(
        [
            HEADER.format(devices=DEVICES[model]),
            f"name: {name}\n",
            f"description: {method} on Qwen2.5-Math-{model.upper()}, {size} problems{note}.\n",
            COMMON.format(model=MODELS[model], num_train=SIZES[size]),
            RL.format(algorithm=algorithm),
            RL_OF[algorithm],
            "" if irl_rate is None else IRL.format(learning_rate=irl_rate),
            EVALUATION,
            PARALLEL[model],
        ]
    )


def stem(model: str, size: str, algorithm: str, *, sps: bool) -> str:
    """``1.5b-3k-grpo`` or ``1.5b-3k-sps-grpo``."""
    return f"{model}-{size}-{'sps-' if sps else ''}{algorithm}"


def recipes() -> dict[str, str]:
    """Text by path below the folder of recipes."""
    texts = {}
    for model in MODELS:
        for size in SIZES:
            for algorithm in ALGORITHMS:
                for folder, irl_rate in (("paper", None), ("paper", LITERAL_RATE), ("calibrated", CALIBRATED_RATE)):
                    name = stem(model, size, algorithm, sps=irl_rate is not None)
                    texts[f"{folder}/{name}.yaml"] = recipe(model, size, algorithm, irl_rate)
    return texts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file differs")
    check = parser.parse_args().check
    differing = []
    for name, text in recipes().items():
        path = RECIPES / name
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        differing.append(name)
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
    print("\n".join(differing) or "all recipes are as generated")
    return int(check and bool(differing))


if __name__ == "__main__":
    sys.exit(main())
