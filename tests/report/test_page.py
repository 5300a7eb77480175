"""The page in a real browser, from disk, without a network."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page

import unsqueeze as uq

pytestmark = pytest.mark.browser

Open = Callable[..., Page]


@pytest.fixture(scope="module")
def page_file(arms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return uq.write_report(arms, out=tmp_path_factory.mktemp("page") / "report.html")


@pytest.mark.parametrize(("width", "dark"), [(400, False), (1280, True), (1920, False)])
def test_it_opens_without_a_request_or_an_error(page_file: Path, opened: Open, width: int, dark: bool) -> None:
    page = opened(page_file, width=width, dark=dark)
    page.wait_for_selector("#figure-plane .plot svg")
    assert page.locator("h1").inner_text().startswith("grpo lost ")
    assert page.evaluate("document.documentElement.scrollWidth") <= width  # nothing hangs over the side
    assert page.evaluate("document.documentElement.dataset.theme") == ("dark" if dark else "light")


def test_numbers_of_the_page_are_those_of_the_summaries(page_file: Path, arms: Path, opened: Open) -> None:
    page = opened(page_file)
    shown = page.evaluate("report.numbers")
    for name in ("grpo", "sps"):
        for step, told in shown["summaries"][name].items():
            stored = json.loads((arms / name / "evals" / f"step-{int(step):06d}.json").read_bytes())
            assert told == {key: stored[key] for key in told}
    rows = page.locator("#table-results tbody tr").all_inner_texts()
    after = uq.open_run(arms / "sps").evaluations[5]
    assert any(row.startswith("sps\t") and f"{100 * after.avg.mean:.1f}" in row for row in rows)
    change = uq.compare_all({"grpo": str(arms / "grpo"), "sps": str(arms / "sps")})["sps", "grpo"]
    assert shown["comparisons"][0] == {
        "first": "grpo",
        "second": "sps",
        **json.loads(json.dumps(change.to_json_object(difference=0.05))),
    }


def test_the_slider_chooses_k(page_file: Path, arms: Path, opened: Open) -> None:
    page = opened(page_file)
    page.wait_for_selector("#figure-plane .plot svg")
    assert page.locator("#k-value").inner_text() == "8"
    page.locator("#k").focus()
    page.keyboard.press("ArrowLeft")
    assert page.locator("#k-value").inner_text() == "4"
    drawn = page.evaluate(
        "document.querySelector('#figure-plane .plot').data.find((each) => each.name === 'sps').y.at(-1)"
    )
    assert drawn == 100 * uq.open_run(arms / "sps").evaluations[5].pass_at[4].mean


def test_figures_and_tables_are_saved_from_the_page(page_file: Path, opened: Open) -> None:
    page = opened(page_file)
    page.wait_for_selector("#figure-plane .plot svg")
    with page.expect_download() as download:
        page.locator("#figure-plane button", has_text="SVG").click()
    svg = Path(download.value.path()).read_text("utf-8")
    assert svg.startswith("<svg")
    assert "sps" in svg
    with page.expect_download() as download:
        page.locator("#table-results button", has_text="Markdown").click()
    assert download.value.suggested_filename == "results.md"
    assert "| sps |" in Path(download.value.path()).read_text("utf-8")


def test_the_numbers_of_a_figure_are_there_as_text(page_file: Path, opened: Open) -> None:
    page = opened(page_file)
    box = page.locator("#figure-pass-at-k")
    box.locator("summary").click()
    assert re.search(r"sps: Pass@8 \d+\.\d %", box.locator(".readout").inner_text())


def test_bars_stand_at_their_bins_and_curves_at_their_ks(page_file: Path, opened: Open) -> None:
    page = opened(page_file)
    page.locator("#figure-accuracy-histogram").scroll_into_view_if_needed()
    page.wait_for_selector("#figure-accuracy-histogram .plot .bars")
    ticks = page.locator("#figure-accuracy-histogram .xtick").all_text_contents()
    assert ticks == ["0 %", "0–25 %", "25–50 %", "50–75 %", "75–100 %", "100 %"]
    page.locator("#figure-pass-at-k").scroll_into_view_if_needed()
    page.wait_for_selector("#figure-pass-at-k .plot .scatterlayer")
    assert page.locator("#figure-pass-at-k .xtick").all_text_contents() == ["1", "2", "4", "8"]


def test_one_figure_is_printed_alone(page_file: Path, opened: Open) -> None:
    page = opened(page_file, dark=True)
    page.wait_for_selector("#figure-plane .plot svg")
    page.evaluate("window.print = () => {}")
    page.locator("#figure-plane button", has_text="PDF").click()
    page.wait_for_selector("body.one-figure")
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    page.emulate_media(media="print")
    shown = """[...document.querySelectorAll('figure, .table, h1')]
        .filter((each) => each.checkVisibility()).map((each) => each.id)"""
    assert page.evaluate(shown) == ["figure-plane"]
    assert len(re.findall(rb"/Type\s*/Page[^s]", page.pdf())) == 1
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.locator("body.one-figure").count() == 0


def test_hostile_names_are_shown_as_text(arms: Path, tmp_path: Path, opened: Open) -> None:
    name = "<img src=x onerror=alert(1)>\u202e\x1b[31m&quot;'\"<b>"
    shutil.copytree(arms / "sps", tmp_path / name)
    (tmp_path / "</script><script>alert(2)<").mkdir(parents=True)
    shutil.copytree(arms / "grpo", tmp_path / "</script><script>alert(2)<" / "script>")
    page_file = uq.write_report(
        [str(tmp_path / name), str(tmp_path / "</script><script>alert(2)<" / "script>")], out=tmp_path / "r.html"
    )
    page = opened(page_file)
    page.wait_for_selector("#figure-plane .plot svg")
    text = page.locator("#table-results").inner_text()
    assert "<img src=x onerror=alert(1)>⟨U+202E⟩␛[31m&quot;'\"<b>" in text
    assert page.locator("#figure-plane svg b, main img").count() == 0
    page.wait_for_timeout(300)


def test_a_run_that_goes_on_is_loaded_again(arms: Path, tmp_path: Path, opened: Open) -> None:
    run = tmp_path / "going-on"
    shutil.copytree(arms / "sps", run)
    lines = (run / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (run / "journal.jsonl").write_bytes(b"".join(lines[:-1]))
    page = opened(uq.write_report(run, live=True))
    assert page.evaluate("report.reload_s") > 0
    assert "reloads itself" in page.locator("[role=status]").inner_text()
