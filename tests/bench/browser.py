"""Debian's Chromium, offline, and what it complained of."""

import contextlib
import shutil

import pytest

PLACES = ("chromium", "chromium-browser", "google-chrome")


@contextlib.contextmanager
def chromium():
    """A browser; skips the test where none is installed."""
    path = next((found for name in PLACES if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("Chromium is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@contextlib.contextmanager
def opened(browser, file, width=1600, theme="light", charts=False):
    """The page of a file in a window without a network; fails when the page complains or asks."""
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=theme, offline=True,
        reduced_motion="reduce",
    )  # fmt: skip
    page = context.new_page()
    complaints, requests = [], []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(file.as_uri())
    if charts:  # those that are not in view as well
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        page.locator(".plot:not([data-drawn])").first.wait_for(state="detached", timeout=60_000)
    yield page
    context.close()
    assert complaints == []
    assert [url[:100] for url in requests if not url.startswith(("data:", file.as_uri()))] == []
