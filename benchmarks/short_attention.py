"""Attention of short rows behind their prompts, written out, beside the kernel of PyTorch: forward, and with backward.

    python benchmarks/short_attention.py --out docs/results/short-attention-cpu.md

4,096 tokens of responses that are read behind prompts half as long as they, as in ``policy/shared_prompts.py``: fp32, a
mask of booleans, one thread, with the heads of the embedded model (4 of 24) and of SmolLM2-135M (9 of 64, all with keys
of their own). The two sides take turns; times are CPU time.
"""

import argparse
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from pages import deliver, made_by, median_and_range
from unsqueeze.policy.short_attention import attend_short, bias_of
from update import cpu_ms

TOKENS = 4096
HEADS = {"4 of 24": (4, 24), "9 of 64": (9, 64)}
LENGTHS = (8, 16, 20, 32, 64)


def kernel(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    return scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2)


def written_out(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    return attend_short(query, key, value, bias_of(mask), scale=None)


def row_of(heads: str, length: int, turns: int) -> str:
    """A line of the table."""
    count, width = HEADS[heads]
    rows, read = TOKENS // length, length + length // 2
    query = torch.randn(rows, length, count, width).transpose(1, 2).requires_grad_()
    key, value = (torch.randn(rows, count, read, width).requires_grad_() for _ in range(2))
    mask = torch.ones(rows, 1, length, read, dtype=torch.bool).tril(length // 2)
    taken = (query, key, value, mask)
    gradient = torch.randn(rows, length, count, width)
    torch.testing.assert_close(written_out(*taken), kernel(*taken), rtol=1e-4, atol=1e-5)
    cells = []
    for with_backward in (False, True):

        def once(side: object, with_backward: bool = with_backward) -> None:
            read = side(*taken)  # type: ignore[operator]
            if with_backward:
                read.backward(gradient)

        times: dict[str, list[float]] = {"kernel": [], "written out": []}
        for _ in range(turns):
            times["kernel"].append(cpu_ms(partial(once, kernel), 10))
            times["written out"].append(cpu_ms(partial(once, written_out), 10))
        ratios = [a / b for a, b in zip(*times.values(), strict=True)]
        cells += [median_and_range(each, 2) for each in (*times.values(), ratios)]
    return f"| {heads} | {length} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--out", type=Path, help="the page to write; without it, it is printed")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sides = "kernel, ms | written out, ms | times"
    page = "\n".join(
        [
            "# Attention of short rows behind their prompts",
            "",
            f"{made_by('torch')} {TOKENS:,} tokens, {arguments.turns} turns of 10, one thread, CPU time; medians "
            "[smallest, largest]. The last three columns are forward and backward.",
            "",
            f"| heads | tokens of a response | {sides} | {sides} |",
            "| --- | ---: |" + " ---: |" * 6,
            *(row_of(heads, length, arguments.turns) for heads in HEADS for length in LENGTHS),
            "",
        ]
    )
    deliver(page, arguments.out)


if __name__ == "__main__":
    main()
