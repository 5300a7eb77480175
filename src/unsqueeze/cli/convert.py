"""``unsqueeze convert``: other people's models as safetensors."""

from pathlib import Path
from typing import Annotated

import typer

from unsqueeze.cli.options import begin


def convert(
    model: Annotated[
        str, typer.Argument(help="A folder in Hugging Face format or a hub name, of a model or an adapter.")
    ],
    out: Annotated[Path, typer.Option(help="The folder to write; must not exist.")],
) -> None:
    """Write a model so that it can be trained or evaluated: weights as safetensors, adapters merged.

    Weights that are pickles (.bin) are read without running what they hold; of an adapter, the model it belongs to is
    read too.

    Examples:
      unsqueeze convert old-model --out old-model-safetensors
      unsqueeze convert my-adapter --out my-model
    """
    console = begin(f"{model}: reading")
    import unsqueeze as uq

    num_parameters = uq.convert(model, out=out)
    console.print(f"{out}: {num_parameters:,} parameters, from {model}")
