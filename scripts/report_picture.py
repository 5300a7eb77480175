"""Make docs/images/report.png, the picture at the top of the README: the first screen of a report.

    python scripts/report_picture.py --run labs/quickstart

RUN is what ``unsqueeze lab quickstart`` left (about a quarter of an hour on two cores), or a run. Needs Debian's
chromium and the packages of the extra ``dev``.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

import unsqueeze as uq

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "report.png"
WIDTH, HEIGHT = 1280, 800
MOST_BYTES = 300_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("labs/quickstart"))
    parser.add_argument("--out", type=Path, default=PICTURE)
    arguments = parser.parse_args()
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("chromium is not installed: apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page_file = uq.write_report(arguments.run, out=Path(folder) / "report.html")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        page.goto(page_file.as_uri())
        page.wait_for_selector("#figure-plane .plot svg .point")
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=arguments.out)
        browser.close()
    size = arguments.out.stat().st_size
    if size > MOST_BYTES:
        sys.exit(f"{arguments.out} has {size:,} bytes; at most {MOST_BYTES:,} are allowed.")
    print(f"{arguments.out}: {size:,} bytes")


if __name__ == "__main__":
    main()
