"""What ``verify``, ``score`` and ``compare`` share: the verifier's options, and tables of estimates."""

from typing import Annotated

import typer
from rich.console import Console

from unsqueeze.errors import UserError

# The defaults are those of verify.math_verifier.MathVerifier; they are repeated here so that --help need not load it.
WORKERS = 2
TIMEOUT_S = 10.0
MEMORY_MB = 320

WorkersOption = Annotated[int, typer.Option(help="Processes that verifier.")]
TimeoutOption = Annotated[float, typer.Option(help="Seconds one answer may take.")]
MemoryOption = Annotated[int, typer.Option("--memory-mb", help="Memory (MB of address space) one process may use.")]
CreditOption = Annotated[
    str, typer.Option(help="Where an answer may stand: boxed (the last \\boxed{}), final_answer, or anywhere.")
]
KsOption = Annotated[
    str | None,
    typer.Option("--k", metavar="K,K,…", help="The k of Pass@k. Default: 1, 2, 4, … and n, the most samples."),
]
ByOption = Annotated[str, typer.Option("--by", metavar="FIELD", help="The field that tells benchmarks apart.")]
SeedOption = Annotated[int, typer.Option(help="Seed of the intervals.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]


def parse_ks(text: str | None, max_samples: int) -> list[int]:
    """The ks of ``--k 1,8,128``; the powers of two up to the number of samples where nothing was said."""
    from unsqueeze.metrics.summary import powers_of_two_up_to

    if text is None:
        return powers_of_two_up_to(max_samples) or [1]
    try:
        ks = sorted({int(part) for part in text.split(",")})
    except ValueError:
        ks = []
    if not ks or ks[0] < 1:
        raise UserError(f"--k {text}: give whole numbers from 1 on, separated by commas, such as 1,8,128.")
    return ks


def points(share: float) -> str:
    """A share as a percentage, or a dash where it is undefined."""
    return "–" if share != share else f"{100 * share:.1f}"


def notes() -> Console:
    """Where everything goes that is not the result: standard error."""
    return Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)
