"""``unsqueeze doctor``: what works here, found out by trying it."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from unsqueeze.cli.options import begin
from unsqueeze.plain_json import dumps

if TYPE_CHECKING:
    from unsqueeze.api.health import Finding


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """Say what is installed, try the engine and the verifier for real, and say what to install for the rest.

    The engine writes one answer with the embedded model on every device there is; the verifier gives one verdict in a
    process of its own. Exit code 0 if everything a run needs works, 1 if something does not.

    Example:
      unsqueeze doctor
    """
    begin("trying what is installed")
    import unsqueeze as uq

    findings = uq.doctor()
    works = all(finding.works for finding in findings if finding.needed)
    if as_json:
        typer.echo(dumps({"works": works, "findings": [asdict(finding) for finding in findings]}))
    else:
        print_findings(findings)
        typer.echo("Everything a run needs works." if works else "Something a run needs does not work.")
    if not works:
        raise typer.Exit(1)


def print_findings(findings: "Sequence[Finding]") -> None:
    from rich.console import Console

    console = Console(highlight=False, markup=False, soft_wrap=True)
    for finding in findings:
        mark = "ok" if finding.works else ("BROKEN" if finding.needed else "absent")
        console.print(f"{mark:<7} {finding.name}: {finding.detail}")
        if finding.advice:
            console.print(f"        → {finding.advice}")
