"""The cost model against a run: memory, time and disk of a short quickstart, estimated and measured.

    python benchmarks/plan.py [--steps 50] [--samples 32]

One process, one thread. Time is the CPU's, so that other work on the machine does not count; memory is the largest
resident set. Prints a Markdown table; the results are in docs/planning.md.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

from pages import made_by
from unsqueeze.config.load import arms_of, load_recipe
from unsqueeze.progress import Silent, StopRequest
from unsqueeze.training.loop import train
from unsqueeze.training.preflight import estimate_parts
from unsqueeze.training.setup import load_parts, open_directory, put_together


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--samples", type=int, default=32)
    given = parser.parse_args()
    recipe = arms_of(
        load_recipe("quickstart", [f"rl.steps={given.steps}", f"evaluation.n={given.samples}"]), "quickstart"
    )["sps"]
    parts = load_parts(recipe)
    estimate = estimate_parts(recipe, parts)
    with tempfile.TemporaryDirectory() as folder:
        directory = open_directory(recipe, parts, Path(folder) / "run")
        run = put_together(recipe, parts, directory, progress=Silent(), stop=StopRequest())
        begun = time.process_time()
        train(run, reference=parts.reference)
        seconds = time.process_time() - begun
        run.verifier.close()
        directory.close()
        written = sum(file.stat().st_size for file in directory.path.rglob("*") if file.is_file())
        lines = directory.metrics.read()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"{made_by('torch', 'transformers')} Quickstart's arm sps, {given.steps} RL steps,")
    print(f"evaluations of {given.samples} samples.\n")
    print("|  | estimated | measured | estimated / measured |\n| --- | ---: | ---: | ---: |")
    mean = sum(line["response_tokens_mean"] for line in lines if line["kind"] == "rl") / given.steps
    for name, ours, real in (
        ("peak memory, MB", estimate.memory.peak / 1e6, peak / 1e6),
        ("time, CPU seconds", estimate.duration.total, seconds),
        ("disk, MB", estimate.disk.total / 1e6, written / 1e6),
        ("mean response, tokens", estimate.lengths.mean_response, mean),
    ):
        print(f"| {name} | {ours:.1f} | {real:.1f} | {ours / real:.2f} |")


if __name__ == "__main__":
    main()
