"""Runs that reports are made of, trained once."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

import unsqueeze as uq
from small_runs import SMALL


def train_arms(folder: Path, *overrides: str) -> Path:
    """A control and an arm with IRL, five RL steps each, evaluated four times."""
    recipe = {name: value for name, value in SMALL.items() if name != "irl"} | {
        "evaluation": {"n": 8, "every_steps": 2, "gauges_every_steps": 1},
        "arms": {"grpo": {}, "sps": {"irl": SMALL["irl"]}},
    }
    uq.train(recipe, run=folder, overrides=overrides)
    return folder


@pytest.fixture(scope="session")
def arms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_arms(tmp_path_factory.mktemp("report") / "arms")


@pytest.fixture(scope="session")
def seeds(arms: Path) -> list[Path]:
    """The same arms trained from two seeds."""
    return [arms, train_arms(arms.parent / "arms-seed-4", "seed=4")]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Debian's browser, without a window."""
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("the page is tested in chromium, which is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        # In a container the processes of a page cannot be confined, and ours opens nothing but files of ours.
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium: Browser) -> Iterator[Callable[..., Page]]:
    """Opens a file in a window without a network; at the end, nothing was asked for and nothing complained."""
    contexts, told = [], list[str]()

    def open_page(path: Path, *, width: int = 1280, dark: bool = False, part: str = "") -> Page:
        context = chromium.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if dark else "light",
            offline=True,
            accept_downloads=True,
        )
        contexts.append(context)
        page = context.new_page()
        own = path.resolve().as_uri()
        page.on("console", lambda message: told.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: told.append(f"error: {error}"))
        page.on("dialog", lambda dialog: told.append(f"dialog: {dialog.message}"))
        page.on(
            "request",
            lambda request: (
                None if request.url.startswith((own, "blob:", "data:")) else told.append(f"asked for {request.url}")
            ),
        )
        page.goto(own + part)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert told == []
