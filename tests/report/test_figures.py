"""Figures and tables as files for papers, and Pass@k curves of samples without a run."""

import csv
import json
from pathlib import Path

import pytest

import unsqueeze as uq
from unsqueeze.errors import UserError
from unsqueeze.report.charts import all_figures
from unsqueeze.report.figures import COLORS_DARK, COLORS_LIGHT, Axis, Figure, Series, color_of
from unsqueeze.report.gather import gather
from unsqueeze.report.plane import plane


def samples(path: Path, right: int) -> Path:
    lines = [{"problem_id": f"p{p}", "correct": i < right + p % 2} for p in range(8) for i in range(8)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_every_figure_and_table_is_written(arms: Path, tmp_path: Path) -> None:
    written = {path.name: path for path in uq.write_figures(arms, tmp_path / "figures")}
    report = gather([str(arms)])
    for figure in [*plane(report).figures, *all_figures(report)]:
        assert written[f"{figure.name}.pdf"].read_bytes().startswith(b"%PDF")
        svg = written[f"{figure.name}.svg"].read_text("utf-8")
        assert "<svg" in svg
        assert figure.x.title in svg
    rows = list(csv.DictReader(written["results.csv"].read_text("utf-8").splitlines()))
    after = uq.open_run(arms / "sps").evaluations[5]
    assert next(float(row["Avg@8"]) for row in rows if row[""] == "sps") == 100 * after.avg.mean
    assert "\\toprule" in written["differences.tex"].read_text()
    assert "| sps |" in written["results.md"].read_text()


def test_the_same_figures_are_the_same_files(arms: Path, tmp_path: Path) -> None:
    first = uq.write_figures(arms / "sps", tmp_path / "a")
    again = uq.write_figures(arms / "sps", tmp_path / "b")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]


def test_names_are_no_formulas_and_no_markup(tmp_path: Path) -> None:
    from unsqueeze.report.draw import save_figure

    name = "$\\frac{<b>&$ _x^"
    series = [Series(name=name + end, kind="line", color=0, x=[1, 2], y=[1.0, None], label=name) for end in ("", "2")]
    figure = Figure(name="f", title="", says="", x=Axis(title=name), y=Axis(title="y"), series=series)
    (svg,) = save_figure(figure, tmp_path, formats=["svg"])
    assert "$\\frac{&lt;b&gt;&amp;$ _x^" in svg.read_text("utf-8")


def test_three_models_in_one_figure(tmp_path: Path) -> None:
    paths = {name: samples(tmp_path / f"{name}.jsonl", right) for name, right in (("a", 1), ("b", 2), ("c", 4))}
    figure = uq.plot([f"{name}={path}" for name, path in paths.items()], out=tmp_path / "curves.svg")
    lines = {each.name: each for each in figure.series if each.kind == "line"}
    for name, path in paths.items():
        expected = uq.score(str(path))
        assert lines[name].x == [1, 2, 4, 8]
        assert lines[name].y == [100 * expected.pass_at[k].mean for k in (1, 2, 4, 8)]
    assert "Pass@k" in (tmp_path / "curves.svg").read_text("utf-8")


def test_several_seeds_are_a_mean_and_a_range(tmp_path: Path) -> None:
    first, second = samples(tmp_path / "1.jsonl", 1), samples(tmp_path / "2.jsonl", 3)
    figure = uq.plot({"model": [str(first), str(second)]}, ks=[1])
    band, line = figure.series
    means = [100 * uq.score(str(path)).avg.mean for path in (first, second)]
    assert line.y == [pytest.approx(sum(means) / 2)]
    assert (band.low, band.high) == ([min(means)], [max(means)])


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"\.svg or \.pdf"):
        uq.plot([str(samples(tmp_path / "a.jsonl", 1))], out=tmp_path / "curves.png")


def contrast(one: str, other: str) -> float:
    """Of two colours, by WCAG."""

    def luminance(color: str) -> float:
        parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    bright, dim = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


def test_colours_stand_out_on_paper_and_in_the_dark() -> None:
    for number in range(-1, len(COLORS_LIGHT)):
        assert contrast(color_of(number), "#f6f7f9") >= 4
        assert contrast(color_of(number, dark=True), "#1d2127") >= 4.5
    assert color_of(len(COLORS_DARK), dark=True) == COLORS_DARK[0]
