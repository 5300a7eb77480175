"""One self-contained HTML file: the template, the data as JSON, and every script and style inside it.

Texts of models, of users and of file names reach the page in two ways: through Jinja's escaping, or as JSON in script
elements that no browser runs, where ``<`` , ``>`` and ``&`` are escaped; the page's own script puts them into nodes of
text. A content security policy allows no script but those with this file's nonce, and no request at all.
"""

import importlib.util
import re
import secrets
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from unsqueeze import __version__
from unsqueeze.metrics.histogram import accuracy_histogram
from unsqueeze.plain_json import dumps
from unsqueeze.report.charts import NUM_INNER_BINS, all_figures, models
from unsqueeze.report.figures import BASE_DARK, BASE_LIGHT, COLORS_DARK, COLORS_LIGHT
from unsqueeze.report.model import Report
from unsqueeze.report.plane import plane
from unsqueeze.report.rollouts import MOST_BYTES, MOST_ROLLOUTS, Packed, packed
from unsqueeze.report.statements import details, headline
from unsqueeze.report.tables import all_tables, contrast_rows, moved_problems
from unsqueeze.tables import WRITERS, Table

SCRIPTS = ("data.js", "text.js", "figures.js", "rollouts.js", "browser.js", "page.js")
"""The page's own scripts, each after those that it imports from."""

MOST_OF_PAGE = 20_000_000
LEAST_BYTES = 1_000_000
_ROOM_OF_TEXT = 500_000
"""Bytes for styles, warnings and headings."""

RELOAD_S = 15
"""Seconds after which the page of a run that goes on loads itself again."""


def render(report: Report, *, most_rollouts: int = MOST_ROLLOUTS, live: bool = False) -> bytes:
    """Return the page, with so many rollouts at most; one that is ``live`` reloads itself.

    Rollouts get the room that everything else leaves of 20 MB, or 1 MB where that is less.
    """
    tables = all_tables(report)
    charts, figures = plane(report), all_figures(report)
    has_plane = bool(charts.figures)
    data: dict[str, Any] = {
        "plane": charts.to_json_object() if has_plane else None,
        "figures": [figure.to_json_object() for figure in figures],
        "tables": {name: {form: write(table) for form, write in WRITERS.items()} for name, table in tables.items()},
        "numbers": {
            "summaries": {
                run.label: {str(each.step): each.summary.to_json_object() for each in run.checkpoints}
                for _, run in report.runs
            },
            "comparisons": contrast_rows([*report.against_first, *report.against_base]),
        },
        "colors": {"light": [BASE_LIGHT, *COLORS_LIGHT], "dark": [BASE_DARK, *COLORS_DARK]},
        "reload_s": RELOAD_S if live else None,
        "models": models(report),
        "moved": [each.to_json_object() for each in moved_problems(report)],
        "bins": [each.label for each in accuracy_histogram([1], [1], NUM_INNER_BINS)],
    }
    scripts = [_plotly(), asset("katex.min.js"), own_script()]
    # A table stands in the page once more, as HTML, about as long as its three forms.
    beside = sum(map(len, scripts)) + len(_json(data)) + 2 * len(dumps(data["tables"])) + _ROOM_OF_TEXT
    rollouts = packed(report, most=most_rollouts, room=min(MOST_BYTES, max(LEAST_BYTES, MOST_OF_PAGE - beside)))
    data["rollouts"] = rollouts.to_json_object()
    page = (
        environment()
        .from_string(asset("page.html.j2"))
        .render(
            report=report,
            version=__version__,
            nonce=secrets.token_urlsafe(16),
            css=Markup(asset("page.css")),
            headline=headline(report),
            details=details(report),
            live=live,
            has_plane=has_plane,
            plane_title="Right answers, and problems solved",
            figures=figures,
            warnings=[*report.notes, *(f"{run.label}: {each}" for _, run in report.runs for each in run.warnings)],
            missing=[
                f"{run.label}: {each}"
                for _, run in report.runs
                for each in (
                    [run.status] if not run.is_done or ("finished" not in run.status and run.is_training) else []
                )
                + list(run.missing)
            ]
            + ([] if rollouts.groups else rollouts.left_out),
            table=lambda name: _table(name, tables),
            section=lambda name, open: _section(name, tables, is_open=open),
            browser=Markup(
                environment()
                .from_string(asset("browser.html.j2"))
                .render(moved=moved_problems(report), left_out=rollouts.left_out, has_math=has_math(rollouts))
            )
            if rollouts.groups
            else None,
            data=_json(data),
            blocks=rollouts.blocks.items(),
            scripts=[_script(text) for text in scripts],
        )
    )
    return page.encode("utf-8", errors="replace")


def has_math(rollouts: Packed) -> bool:
    """Tell whether the problems hold LaTeX."""
    words = [*rollouts.prompts.values(), *rollouts.golds.values()]
    return any("\\" in each or each.count("$") > 1 for each in words)


def environment() -> Environment:
    """Return Jinja's, which escapes everything."""
    made = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters |= {"visible": visible, "estimate": _in_cell}
    return made


def asset(name: str) -> str:
    """Read a file that ships with the report."""
    return (files("unsqueeze.report") / "assets" / name).read_text(encoding="utf-8")


def own_script() -> str:
    """Return the page's own modules as one script: a file opened from disk may import no other."""
    return "\n".join(re.sub(r"^import .*;$|^export ", "", asset(name), flags=re.MULTILINE) for name in SCRIPTS)


def visible(text: object) -> str:
    """Return the text with a picture for every character that would be none, or would turn the others around.

    Controls (those of terminals too), marks of direction, and halves of surrogate pairs.
    """
    return _HIDDEN.sub(lambda match: _picture(match[0]), str(text))


_HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


def _picture(character: str) -> str:
    code = ord(character)
    return chr(0x2400 + code) if code < 0x20 else f"⟨U+{code:04X}⟩"


def _in_cell(text: str) -> Markup:
    """Write a cell: the interval of an estimate stands below it."""
    match = re.fullmatch(r"(\S+) (\[[^\]]*\])", text)
    if match:
        return Markup('{} <small class="interval">{}</small>').format(match[1], match[2])
    return Markup("<bdi>{}</bdi>").format(visible(text)) if text else Markup("")


def _table(name: str, tables: Mapping[str, Table], *, with_title: bool = True) -> Markup:
    if name not in tables:
        return Markup("")
    template = environment().from_string(asset("table.html.j2"))
    return Markup(template.render(name=name, table=tables[name], with_title=with_title))


def _section(name: str, tables: Mapping[str, Table], *, is_open: bool) -> Markup:
    if name not in tables:
        return Markup("")
    inside = _table(name, tables, with_title=False)
    return Markup('<section id="section-{}"><details{}><summary><h2>{}</h2></summary>{}</details></section>').format(
        name, Markup(" open") if is_open else "", escape(tables[name].title), inside
    )


def _json(value: Any) -> Markup:
    """Return JSON that may stand in a script element: no text in it can close the element or open another."""
    text = dumps(value)
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def _script(text: str) -> Markup:
    assert "</script" not in text.lower(), "a script of ours would end its own element"
    return Markup(text)


def _plotly() -> str:
    """Read the plotting library, which the package plotly ships."""
    found = importlib.util.find_spec("plotly")
    assert found is not None, "plotly is a dependency"
    assert found.origin is not None, "plotly is a package with files"
    return (Path(found.origin).parent / "package_data" / "plotly.min.js").read_text(encoding="utf-8")
