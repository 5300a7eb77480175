"""``unsqueeze plot``: Pass@k curves of samples that exist, without a run."""

from pathlib import Path
from typing import Annotated, Any

import typer

from unsqueeze.cli.options import KsOption, SeedOption, SkipBadOption, begin, judging, parse_ks, takes


@takes(judging)
def plot(
    sides: Annotated[
        list[str],
        typer.Argument(
            help="Samples, an evaluation or a run, as for compare; FOLDER:ARM, or a folder of arms; NAME=PATH to name "
            "a curve. What has the same name is one curve, a run a seed."
        ),
    ],
    out: Annotated[Path, typer.Option(help="The file, .svg or .pdf.")] = Path("pass_at_k.svg"),
    ks: KsOption = None,
    skip_bad: SkipBadOption = False,
    seed: SeedOption = 0,
    **given: Any,
) -> None:
    """Draw Pass@k against k of one model or of several in one figure, with 95 % intervals over problems.

    Where a curve falls under that of the first side, the place is marked. Several runs of one name are seeds: the curve
    is their mean, the band their range.

    Examples:
      unsqueeze plot judged.jsonl
      unsqueeze plot base=base.jsonl grpo=grpo.jsonl sps=sps.jsonl --out figure.pdf
      unsqueeze plot runs/quickstart --k 1,2,4,8,16
    """
    console = begin(f"{', '.join(sides)}: reading")
    import unsqueeze as uq
    from unsqueeze.cli.progress import TerminalProgress

    figure = uq.plot(
        sides, out=out, ks=parse_ks(ks), skip_bad=skip_bad, seed=seed, progress=TerminalProgress(console), **given
    )
    console.print(f"{out}: {figure.says}")
