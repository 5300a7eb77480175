"""Products of few rows with weights that oneDNN has laid out, beside plain products.

    python benchmarks/packed_products.py --out docs/results/packed-products-cpu.md

The shapes are those of SmolLM2-135M: projections of its layers and its head. Each side multiplies as many different
matrices as do not fit a cache together, as a step of generation does; times are CPU time, the sides take turns. The gap
is the largest difference of an entry, beside the largest entry.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

from pages import deliver, made_by, median_and_range
from unsqueeze.rollout.packed import Form, Product

SHAPES = {"attention's output": (576, 576, 60), "up": (576, 1536, 30), "down": (1536, 576, 30), "head": (576, 49152, 2)}
ROWS = (1, 8, 32, 128, 2048)


def products_of(products: Sequence[Product], values: torch.Tensor) -> list[torch.Tensor]:
    return [product(values) for product in products]


def gflops(work: Callable[[], object], operations: float) -> float:
    begun = time.process_time()
    work()
    return 1e-9 * operations / (time.process_time() - begun)


def line_of(name: str, rows: int, turns: int) -> str:
    """A line of the table."""
    width_in, width_out, count = SHAPES[name]
    weights = [torch.randn(width_out, width_in) for _ in range(count)]
    values = torch.randn(rows, width_in)
    sides = {
        packed: [Product(weight, None, Form(torch.float32, packed)) for weight in weights] for packed in (False, True)
    }
    assert all(product.is_packed for product in sides[True])
    operations = 2 * rows * width_in * width_out * count
    rates: dict[bool, list[float]] = {False: [], True: []}
    for turn in range(1 + turns):  # the first warms up
        for packed, products in sides.items():
            rate = gflops(partial(products_of, products, values), operations)
            if turn:
                rates[packed].append(rate)
    plain, laid_out = sides[False][0](values), sides[True][0](values)
    gap = f"{(plain - laid_out).abs().max():.0e} of {plain.abs().max():.0f}"
    ratios = [fast / slow for slow, fast in zip(rates[False], rates[True], strict=True)]
    cells = [median_and_range(rates[False]), median_and_range(rates[True]), median_and_range(ratios, 2), gap]
    return f"| {name}, {width_in} × {width_out:,} | {rows:,} | " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--out", type=Path, help="the page to write; without it, it is printed")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    page = "\n".join(
        [
            "# Products of few rows: plain, and with weights laid out for them",
            "",
            f"{made_by('torch')} {arguments.turns} turns, one thread, fp32. GFLOP/s of CPU time, median [smallest, "
            "largest].",
            "",
            "| weights | rows | plain | laid out | times as fast | largest gap |",
            "| --- | ---: | ---: | ---: | ---: | --- |",
            *(line_of(name, rows, arguments.turns) for name in SHAPES for rows in ROWS),
            "",
        ]
    )
    deliver(page, arguments.out)


if __name__ == "__main__":
    main()
