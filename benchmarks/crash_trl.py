"""The control of ``benchmarks/crash.py``: TRL's GRPO trainer, killed and resumed from its own checkpoints.

    python benchmarks/crash_trl.py --out docs/results/crash-trl-2cores.md

The same kind of run (the embedded Countdown model, 4 prompts × 4 completions a step, 8 steps, a checkpoint every 2) is
trained by TRL once without interruption, and then several times until SIGKILL, at a moment drawn by the seed among all
that follow the first checkpoint: after a generation is judged, or after an optimizer step. It is then resumed as TRL's
manual says, ``trainer.train(resume_from_checkpoint=True)``, same seed and settings. Compared are, as in ``crash.py``,
the metrics (timings aside), the final weights, and the completions that a dead life made for steps after its last
checkpoint: whether the next life makes the same ones again, or others. With ``steps_per_generation`` 1 and 4 (the
paper's GSPO). Each life is a forked child of one warm process.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch
from datasets import Dataset
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from pages import made_by
from unsqueeze.models import embedded_model_path
from unsqueeze.tasks.countdown import countdown_problems
from unsqueeze.verify.countdown import CountdownVerifier

STEPS, SAVE_EVERY, PROMPTS, GROUP_SIZE = 8, 2, 4, 4
STEPS_PER_GENERATION = (1, 4)
TIMINGS = ("step_time", "runtime", "per_second")


class Moments(TrainerCallback):
    """Counts what a life goes through, and ends it at moment number ``die_at``; keeps what was generated."""

    def __init__(self, log: Path, life: int, die_at: int | None) -> None:
        self.log = log
        self.life = life
        self.die_at = die_at
        self.count = 0
        self.step = 0

    def pass_one(self) -> None:
        self.count += 1
        if self.count == self.die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def generated(self, prompts: Sequence[str], completions: Sequence[str]) -> None:
        with self.log.open("a") as file:
            record = {"life": self.life, "step": self.step, "pairs": list(zip(prompts, completions, strict=True))}
            file.write(json.dumps(record) + "\n")
        self.pass_one()

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.step = state.global_step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.step = state.global_step
        self.pass_one()


def train(folder: Path, steps_per_generation: int, moments: Moments) -> None:
    """A life: from the last checkpoint where there is one."""
    problems, _ = countdown_problems(64, 1, 0)
    by_prompt = {problem.prompt: problem for problem in problems}
    verifier = CountdownVerifier()

    def reward(prompts: list[str], completions: list[str], **_: Any) -> list[float | None]:
        judgements = verifier.verify([by_prompt[prompt] for prompt in prompts], completions)
        moments.generated(prompts, completions)
        return [float(judgement.verdict == "correct") for judgement in judgements]

    tokenizer = AutoTokenizer.from_pretrained(embedded_model_path())
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(embedded_model_path(), dtype=torch.float32),
        processing_class=tokenizer,
        reward_funcs=reward,
        train_dataset=Dataset.from_list([{"prompt": problem.prompt} for problem in problems]),
        callbacks=[moments],
        args=GRPOConfig(
            output_dir=str(folder / "checkpoints"),
            per_device_train_batch_size=PROMPTS * GROUP_SIZE,
            num_generations=GROUP_SIZE,
            steps_per_generation=steps_per_generation,
            max_completion_length=20,
            temperature=1.0,
            learning_rate=1e-3,
            lr_scheduler_type="constant",
            max_steps=STEPS,
            save_steps=SAVE_EVERY,
            logging_steps=1,
            seed=5,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            disable_tqdm=True,
            report_to=[],
        ),
    )
    trainer.train(resume_from_checkpoint=True if last_checkpoint(folder) else None)


def last_checkpoint(folder: Path) -> int:
    """The step of the last checkpoint; 0 where there is none."""
    return max((int(path.name.split("-")[1]) for path in folder.glob("checkpoints/checkpoint-*")), default=0)


def live(folder: Path, steps_per_generation: int, life: int, die_at: int | None) -> bool:
    """A life in a forked child. False if it was killed."""
    folder.mkdir(exist_ok=True)
    child = os.fork()
    if child == 0:
        _train_and_exit(folder, steps_per_generation, Moments(folder / "generated.jsonl", life, die_at))
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        sys.exit(f"a life in {folder} failed by itself, see {folder / 'output'}")
    return os.WIFEXITED(status)


def _train_and_exit(folder: Path, steps_per_generation: int, moments: Moments) -> NoReturn:
    with (folder / "output").open("a") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
        try:
            train(folder, steps_per_generation, moments)
        except BaseException:  # noqa: BLE001 - a forked child must never return into its parent's code
            traceback.print_exc()
            output.flush()
            os._exit(1)
    os._exit(0)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A killed and resumed run beside the one that nothing happened to."""

    died_after_moment: int
    checkpoint: int
    metrics_equal: bool
    weights_equal: bool
    generated: int
    made_again: int
    lost: int


def compare(whole: Path, resumed: Path, steps_per_generation: int, die_at: int, checkpoint: int) -> Outcome:
    """``made_again``: completions that the dead life made for steps after its checkpoint, and the next life once more.
    ``lost``: those that the next life did not make again, so that nothing was or will be learned from them.

    A generation at step s serves the steps s + 1 to s + ``steps_per_generation``, an equal share each.
    """
    records = [json.loads(line) for line in (resumed / "generated.jsonl").read_text().splitlines()]
    again = Counter(tuple(pair) for record in records if record["life"] == 1 for pair in record["pairs"])
    late = made_again = 0
    for record in (record for record in records if record["life"] == 0):
        steps_after = min(steps_per_generation, max(0, record["step"] + steps_per_generation - checkpoint))
        share = len(record["pairs"]) * steps_after // steps_per_generation
        late += share
        made_again += min(share, (again & Counter(tuple(pair) for pair in record["pairs"])).total())
    return Outcome(
        died_after_moment=die_at,
        checkpoint=checkpoint,
        metrics_equal=metrics(whole) == metrics(resumed),
        weights_equal=weights_equal(whole, resumed),
        generated=sum(len(record["pairs"]) for record in records),
        made_again=made_again,
        lost=late - made_again,
    )


def metrics(folder: Path) -> list[dict[str, Any]]:
    """What TRL logged at each step, timings aside."""
    state = json.loads((folder / "checkpoints" / f"checkpoint-{STEPS}" / "trainer_state.json").read_text())
    return [
        {key: value for key, value in line.items() if not any(timing in key for timing in TIMINGS)}
        for line in state["log_history"]
    ]


def weights_equal(one: Path, other: Path) -> bool:
    ours, theirs = (
        load_file(path / "checkpoints" / f"checkpoint-{STEPS}" / "model.safetensors") for path in (one, other)
    )
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def outcomes(folder: Path, steps_per_generation: int, kills: int, rng: random.Random) -> tuple[int, list[Outcome]]:
    """Completions of a whole run, and what came of each that was killed once."""
    whole = folder / f"whole-{steps_per_generation}"
    assert live(whole, steps_per_generation, 0, None), "nobody kills this one"
    generated = sum(len(json.loads(line)["pairs"]) for line in (whole / "generated.jsonl").read_text().splitlines())
    num_generations = -(-STEPS // steps_per_generation)
    first = SAVE_EVERY + -(-SAVE_EVERY // steps_per_generation) + 1
    found = []
    for number, die_at in enumerate(rng.sample(range(first, STEPS + num_generations + 1), kills)):
        path = folder / f"run-{steps_per_generation}-{number}"
        assert not live(path, steps_per_generation, 0, die_at), "it was to be killed"
        checkpoint = last_checkpoint(path)
        assert live(path, steps_per_generation, 1, None)
        found.append(compare(whole, path, steps_per_generation, die_at, checkpoint))
        print(steps_per_generation, found[-1], flush=True)
    return generated, found


def report(results: dict[int, tuple[int, list[Outcome]]], seed: int) -> str:
    """The result as a page of Markdown."""
    lines = [
        "# TRL's GRPO trainer, killed and resumed",
        "",
        f"{made_by('trl', 'transformers', 'torch')} Seed {seed}, one thread.",
        "",
        f"{STEPS} steps of {PROMPTS} × {GROUP_SIZE} completions, a checkpoint every {SAVE_EVERY}, one SIGKILL a run. "
        "`made twice`: drawn again, word for word. `lost`: drawn, thrown away, and others drawn in their place.",
        "",
        "| steps per generation | killed at moment | resumed from step | metrics equal | weights equal | completions "
        "(whole run) | made twice | lost |",
        "| ---: | ---: | ---: | --- | --- | ---: | ---: | ---: |",
    ]
    for steps_per_generation, (generated, found) in results.items():
        lines += [
            f"| {steps_per_generation} | {one.died_after_moment} | {one.checkpoint} | "
            f"{'yes' if one.metrics_equal else 'no'} | {'yes' if one.weights_equal else 'no'} | "
            f"{one.generated} ({generated}) | {one.made_again} | {one.lost} |"
            for one in found
        ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=3, help="for each steps_per_generation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="where to write the page; default: only print it")
    arguments = parser.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # threads would not survive a fork
    torch.set_num_threads(1)
    folder = Path(tempfile.mkdtemp(prefix="crash-trl-"))
    rng = random.Random(arguments.seed)
    page = report({s: outcomes(folder, s, arguments.kills, rng) for s in STEPS_PER_GENERATION}, arguments.seed)
    print(page)
    if arguments.out:
        arguments.out.write_text(page, encoding="utf-8")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
