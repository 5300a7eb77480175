"""``unsqueeze plugin``: the file that brings SPS into another trainer."""

from typing import Annotated

import typer


def plugin(trainer: Annotated[str, typer.Argument(help="For whom: swift (ms-swift).")]) -> None:
    """Print the path of the plugin for a trainer that takes SPS as one; docs/trainers/ms-swift.md says how.

    Examples:
      swift rlhf --rlhf_type grpo … --external_plugins "$(unsqueeze plugin swift)" --callbacks sps
    """
    from unsqueeze.api.plugins import plugin as path_of

    typer.echo(path_of(trainer))
