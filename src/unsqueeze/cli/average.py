"""``unsqueeze average``: the mean over a run's checkpoints, and the model between a base and what training made."""

from pathlib import Path
from typing import Annotated

import typer

from unsqueeze.cli.options import begin


def average(
    base: Annotated[str, typer.Argument(help="A folder in Hugging Face format, a hub name, a run or a checkpoint.")],
    trained: Annotated[str, typer.Argument(help="Likewise, of the model that training made of it.")],
    out: Annotated[Path, typer.Option(help="The folder to write; must not exist.")],
    share: Annotated[float, typer.Option(help="Of the trained weights: 0 is the base, 1 the trained model.")] = 0.5,
    last: Annotated[
        int, typer.Option(help="Trained weights are the mean over the last so many checkpoints of the run TRAINED.")
    ] = 1,
    dtype: Annotated[str, typer.Option(help="Of the saved weights: float32 or bfloat16.")] = "float32",
) -> None:
    """Write the model whose weights are (1 - share) times the base's and share times the trained model's, or their mean
    over the last checkpoints of a run.

    Examples:
      unsqueeze average countdown-0.4m runs/quickstart/grpo --share 0.5 --out grpo-half
      unsqueeze average countdown-0.4m runs/quickstart/sps --share 1 --last 5 --out sps-mean
    """
    console = begin(f"{base} and {trained}: reading")
    import unsqueeze as uq

    num_parameters = uq.average(base, trained, share=share, last=last, out=out, dtype=dtype)
    of = trained if last == 1 else f"the mean over the last {last} checkpoints of {trained}"
    console.print(f"{out}: {num_parameters:,} parameters, {share:g} of {of} and {1 - share:g} of {base}")
