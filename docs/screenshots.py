"""Screenshots of reports, wide and narrow, light and dark: `python docs/screenshots.py STORE...`.

Each store is a folder whose `reports/<study>/report.html` has been made; `stn-bench report` makes
it. The pictures, `docs/screenshots/<study>-<width>-<theme>.png`, are of Debian's Chromium, which
Playwright drives.
"""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

FOLDER = Path(__file__).parent / "screenshots"
WINDOWS = ((1600, "light"), (1600, "dark"), (400, "light"), (400, "dark"))
HIGHEST = 3600


def main(stores: list[str]) -> None:
    """Take the screenshots of every report of these stores."""
    pages = sorted(page for store in stores for page in Path(store).glob("reports/*/report.html"))
    if not pages:
        sys.exit("no reports/<study>/report.html in these stores; `stn-bench report` makes it")
    FOLDER.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        for file in pages:
            for width, theme in WINDOWS:
                context = browser.new_context(
                    viewport={"width": width, "height": 900}, color_scheme=theme, offline=True
                )
                page = context.new_page()
                page.goto(file.resolve().as_uri())
                page.evaluate("dispatchEvent(new Event('beforeprint'))")  # draws every chart
                page.locator(".plot:not([data-drawn])").first.wait_for(state="detached")
                height = min(HIGHEST, page.evaluate("document.documentElement.scrollHeight"))
                page.set_viewport_size({"width": width, "height": height})
                page.screenshot(path=FOLDER / f"{file.parent.name}-{width}-{theme}.png")
                context.close()
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1:])
