"""An update with the model's layers compiled (torch.compile), beside the same update as it is.

    python benchmarks/compiled_update.py --out docs/results/compiled-update-cpu.md

The rows are those of ``update.py``. Layers are compiled one by one, for any length of rows, with nothing in torch's
cache of kernels; then both take turns in one process. Times are CPU time, but for that of the first two compiled
updates.
"""

import os
import tempfile
import time
from typing import Any

from models import name_of
from pages import deliver, made_by, median_and_range
from update import begin, step_ms


def main() -> None:
    arguments, recipe, policy, rows = begin(__doc__)
    base: Any = policy.model.base_model
    layers = list(base.layers)
    found: dict[bool, list[float]] = {False: [], True: []}
    with tempfile.TemporaryDirectory() as cache:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
        for layer in layers:
            layer.compile(dynamic=True)
        calls = [layer._compiled_call_impl for layer in layers]
        begun = time.perf_counter()
        step_ms(policy, recipe.rl, rows, 1, shared=True)
        first_s = time.perf_counter() - begun
        for _ in range(arguments.turns):
            for compiled, times in found.items():
                for layer, call in zip(layers, calls, strict=True):
                    layer._compiled_call_impl = call if compiled else None
                times.append(step_ms(policy, recipe.rl, rows, arguments.steps, shared=True)[0])
    ratios = [plain / compiled for plain, compiled in zip(found[False], found[True], strict=True)]
    page = "\n".join(
        [
            "# An update with the layers compiled",
            "",
            f"{made_by('torch')} Updates of {name_of(arguments.model)}, {arguments.turns} turns of "
            f"{arguments.steps} on {len(rows)} rows, one thread. Median [smallest, largest].",
            "",
            "| as it is, CPU ms | layers compiled, CPU ms | times as fast | the first two compiled, s |",
            "| ---: | ---: | ---: | ---: |",
            f"| {median_and_range(found[False])} | {median_and_range(found[True])} | {median_and_range(ratios, 2)} | "
            f"{first_s:.0f} |",
            "",
        ]
    )
    deliver(page, arguments.out)


if __name__ == "__main__":
    main()
