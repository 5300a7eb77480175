"""The browser of rollouts, in a real one."""

import shutil
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Page, expect

import unsqueeze as uq
from report_parts import HOSTILE, mathematics, with_hostile_words
from unsqueeze.store.rollouts import RolloutWriter, read_rollouts

pytestmark = pytest.mark.browser

Open = Callable[..., Page]


@pytest.fixture(scope="module")
def page_file(arms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return uq.write_report(arms, out=tmp_path_factory.mktemp("browser") / "report.html")


@pytest.fixture
def page(page_file: Path, opened: Open) -> Page:
    page = opened(page_file)
    expect(page.locator("#rollout-status")).to_contain_text("groups")
    return page


def test_filters_find_what_is_stored(page: Page, arms: Path) -> None:
    stored = uq.open_run(arms / "sps").rollouts().to_pylist()
    page.select_option("#f-run", "sps")
    page.select_option("#f-kind", "rollouts")
    expect(page.locator("#rollout-status")).to_have_text(f"20 groups, {len(stored)} rollouts")
    page.select_option("#f-verdict", "c")
    right = [row for row in stored if row["verdict"] == "correct"]
    groups = {(row["step"], row["group"]) for row in right}
    expect(page.locator("#rollout-status")).to_have_text(f"{len(groups)} groups, {len(right)} rollouts")
    page.select_option("#f-verdict", "")
    page.fill("#f-text", " = 2")
    holding = [row for row in stored if " = 2" in row["text"]]
    groups = {(row["step"], row["group"]) for row in holding}
    expect(page.locator("#rollout-status")).to_have_text(f"{len(groups)} groups, {len(holding)} rollouts")
    page.click("#clear")
    page.check("#f-chosen")
    demos = uq.open_run(arms / "sps").demonstrations().to_pylist()
    chosen = {(demo["step"], demo["group"], demo["index"]) for demo in demos}
    expect(page.locator("#rollout-status")).to_have_text(
        f"{len({each[:2] for each in chosen})} groups, {len(chosen)} rollouts"
    )


def test_a_group_is_shown_side_by_side_and_moved_through_by_key(page: Page, arms: Path) -> None:
    page.select_option("#f-run", "grpo")
    page.select_option("#f-kind", "rollouts")
    expect(page.locator("#rollout-status")).to_have_text("20 groups, 80 rollouts")
    page.locator("button.group").first.click()
    first = read_rollouts(arms / "grpo" / "rollouts" / "step-000001.parquet")
    expect(page.locator(".card")).to_have_count(4)
    assert page.locator(".card pre").all_inner_texts() == [each.completion.text for each in first[0].rollouts]
    assert page.locator(".card pre span[style]").count() > 10  # coloured by token
    page.keyboard.press("ArrowRight")
    expect(page.locator(".bar h3")).to_contain_text(first[1].problem.id)
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".bar h3")).to_contain_text(first[0].problem.id)
    page.select_option("#f-sort", "unlikely")
    order = sorted(first[0].rollouts, key=lambda each: each.completion.mean_logp)
    expect(page.locator(".card pre").first).to_have_text(order[0].completion.text)


def test_a_permalink_leads_to_its_sample(page: Page, page_file: Path, opened: Open) -> None:
    page.select_option("#f-kind", "evaluation")
    page.locator("button.group").nth(2).click()
    link = page.locator(".card header a").nth(3)
    target, index = link.get_attribute("href"), link.inner_text()
    assert target is not None
    problem = page.locator(".bar h3").inner_text()
    other = opened(page_file, part=target)
    expect(other.locator(".bar h3")).to_have_text(problem)
    expect(other.locator(".card header a").first).to_have_text(index)


def test_a_problem_is_opened_before_and_after(page: Page) -> None:
    page.locator("#moved button.problem").first.click()
    expect(page.locator(".column h4").first).to_contain_text("evaluation after step 0")
    expect(page.locator(".column h4").nth(1)).to_contain_text("evaluation after step 5")
    assert page.locator(".column").first.locator(".card").count() == 8


def test_a_bar_and_a_point_lead_to_their_answers(page: Page) -> None:
    page.evaluate("follow('sps@5')")
    expect(page.locator(".column h4").first).to_contain_text("sps, evaluation after step 5")
    page.evaluate("follow('grpo#3')")
    expect(page.locator(".column h4").first).to_contain_text("grpo, rollouts of step 3")
    bars = page.evaluate("report.figures.find((each) => each.name === 'accuracy-histogram').series")
    sps = next(each for each in bars if each["name"] == "sps")
    place = next(place for place, count in enumerate(sps["y"]) if count)
    page.evaluate("(key) => follow(key)", sps["keys"][place])
    expect(page.locator("#rollout-status")).to_contain_text(f"{sps['y'][place]} groups")


def test_hostile_words_are_shown_as_text(arms: Path, tmp_path: Path, opened: Open) -> None:
    run = with_hostile_words(arms / "sps", tmp_path / "hostile")
    page = opened(uq.write_report(run))
    page.select_option("#f-kind", "rollouts")
    page.select_option("#f-step", "1")
    expect(page.locator("#rollout-status")).to_have_text("4 groups, 32 rollouts")
    page.locator("button.group").first.click()
    expect(page.locator(".card")).to_have_count(8)
    texts = page.locator(".card pre").all_inner_texts()
    assert texts[0] == HOSTILE[0]
    assert texts[1] == HOSTILE[1]
    assert "⟨U+202E⟩right to left⟨U+202C⟩" in texts[2]
    assert texts[3].startswith("␛[31mred␛[0m ␇ ␀ ⟨U+009B⟩2J")
    assert texts[4].startswith("a" * 3000 + "… show all 100,000 characters")
    page.locator(".card pre button").click()
    expect(page.locator(".card pre").nth(4)).to_have_text("a" * 100_000)
    page.check("#f-math")
    expect(page.locator(".card .math").first).to_be_visible()
    assert page.locator(".card script, .card img, .card [href^=javascript]").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280


def test_maths_is_set_where_it_can_be(tmp_path: Path, opened: Open) -> None:
    page = opened(uq.write_report(mathematics(tmp_path)))
    expect(page.locator("#rollout-status")).to_contain_text("groups")
    page.locator("button.group").first.click()
    expect(page.locator(".card")).to_have_count(5)
    assert page.locator(".bar .prompt math mfrac").count() == 1
    assert page.locator(".card").first.locator("math mfrac").count() > 0
    page.uncheck("#f-math")
    expect(page.locator(".card pre").nth(1)).to_have_text("It is \\boxed{0.5}, which is \\(\\frac{2}{4}\\).")


def test_fifty_thousand_rollouts_are_quick(arms: Path, tmp_path: Path, opened: Open) -> None:
    run = tmp_path / "large"
    shutil.copytree(arms / "grpo", run)
    rollouts = RolloutWriter(run / "rollouts")
    groups = [group for step in rollouts.steps() for group in rollouts.read(step)]
    for step in range(6, 6 + 125):  # 100 groups of 4 a step: 50,000 rollouts beside the 80 that are there
        rollouts.write(step, groups * 5)
    written = uq.write_report(run)
    assert written.stat().st_size < 20_000_000
    before = _cpu_of_browsers()
    page = opened(written)
    page.wait_for_selector("#figure-plane .plot svg")
    expect(page.locator("#rollout-status")).to_contain_text("groups")
    print(f"opening {written.stat().st_size:,} bytes: {_cpu_of_browsers() - before:.1f} s of CPU")
    assert _cpu_of_browsers() - before < 6.0  # seconds of CPU in all of its processes, of which it has two cores
    count = page.evaluate("groups.length")
    assert count > 12_000
    before = _cpu_of_browsers()
    page.evaluate(
        """async () => {
            for (let i = 0; i < 20; i += 1) {
                await openGroup(Math.floor((i * groups.length) / 20), -1);
                void document.body.offsetHeight;
            }
        }"""
    )
    print(f"a group: {(_cpu_of_browsers() - before) / 20:.3f} s of CPU")
    assert (_cpu_of_browsers() - before) / 20 < 0.2


def _cpu_of_browsers() -> float:
    """Seconds of CPU that the browsers have taken so far that this process started."""
    children = psutil.Process().children(recursive=True)
    times = [child.cpu_times() for child in children if "chrom" in child.name()]
    return sum(each.user + each.system for each in times)
