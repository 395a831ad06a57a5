"""The page as a reader has it: in Chromium, without a network, by mouse and by keyboard."""

import json
import re

import made_up
import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import chromium, opened

from bench.report import write_report
from bench.results import ResultStore

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)> \"'|`*_ ${7*7} {{7*7}} "
HOSTILE += "\u202eevil \N{PILE OF POO} " + "x" * 500


@pytest.fixture(scope="module")
def browser():
    with chromium() as opened_browser:
        yield opened_browser


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    study = made_up.study(folder, seeds=3)
    made_up.fill(folder / "results", study)
    return write_report(study, folder / "results").html


def column(page, table, heading):
    """Texts of a column, row by row as they stand."""
    return page.evaluate(
        """([id, heading]) => {
            const table = document.getElementById(id);
            const heads = [...table.tHead.rows[0].cells].map((cell) => cell.innerText.trim());
            const place = heads.findIndex((text) => text.startsWith(heading));
            return [...table.tBodies[0].rows].filter((row) => !row.hidden)
                .map((row) => row.cells[place].innerText.trim());
        }""",
        [table, heading],
    )


def number(text):
    found = re.match(r"−?[\d,.]+", text)
    return float(found[0].replace("−", "-").replace(",", "")) if found else None


@pytest.mark.parametrize(("width", "theme"), [(1600, "light"), (400, "dark")])
def test_the_page_is_whole_readable_and_accessible(browser, file, width, theme):
    with opened(browser, file, width, theme, charts=True) as page:
        for plot in page.locator(".plot").all():
            assert plot.locator("svg path, svg text").count() > 5
            assert plot.get_attribute("data-drawn") == theme
            box = plot.locator("svg").bounding_box()
            assert 0.85 * plot.bounding_box()["width"] < box["width"] <= width
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        smallest = page.evaluate(
            "Math.min(...[...document.querySelectorAll('main p, td, svg text')]"
            ".map((e) => parseFloat(getComputedStyle(e).fontSize)))"
        )
        assert smallest >= 10
        page.locator("#trials-table tr", has_text="ValueError").locator("summary").first.click()
        found = Axe().run(page).response["violations"]
        assert [(each["id"], [node["target"] for node in each["nodes"]]) for each in found] == []


def test_a_table_sorts_by_keyboard(browser, file):
    with opened(browser, file) as page:
        heading = "difference to baseline"
        button = page.get_by_role("button", name=heading).first
        button.focus()
        page.keyboard.press("Enter")
        assert button.locator("..").get_attribute("aria-sort") == "ascending"
        values = [number(text) for text in column(page, "variants-table", heading)]
        shown = [value for value in values if value is not None]
        assert len(shown) == 8 and shown == sorted(shown)
        assert values[8:] == [None, None]  # the baselines, whichever way
        page.keyboard.press("Enter")
        assert button.locator("..").get_attribute("aria-sort") == "descending"
        values = [number(text) for text in column(page, "variants-table", heading)]
        assert values == [*sorted(shown, reverse=True), None, None]


def test_every_control_is_reached_by_tab(browser, file):
    with opened(browser, file) as page:
        page.evaluate("document.body.tabIndex = -1; document.body.focus()")
        seen = None
        for _ in range(400):
            page.keyboard.press("Tab")
            seen = page.evaluate(
                "(() => { const { dataset } = document.activeElement;"
                "const seen = dataset.reached; dataset.reached = 'yes'; return seen; })()"
            )
            if seen:
                break
        missed = page.evaluate(
            "[...document.querySelectorAll('button, input, select, summary, nav a, tbody th a')]"
            ".filter((each) => each.checkVisibility() && !each.dataset.reached)"
            ".map((each) => each.outerHTML)"
        )
        assert seen and missed == []


def test_a_table_filters(browser, file):
    with opened(browser, file) as page:
        page.get_by_label("Filter rows").first.fill("PROJECTIVE")
        names = column(page, "variants-table", "variant")
        assert len(names) == 2 and all("projective" in name for name in names)
        assert page.locator("[data-count=variants-table]").inner_text() == "2 of 10 rows"


def test_a_number_leads_to_its_trials_and_a_trial_to_its_failure(browser, file):
    with opened(browser, file) as page:
        page.locator("#variants-table tbody tr").last.locator("td a").nth(2).click()
        assert set(column(page, "trials-table", "variant")) == {"filters=[8]"}
        assert page.locator(".chip b").inner_text() == "filters=[8]"
        failed = page.locator("#trials-table tr", has_text="ValueError: it broke")
        failed.locator("summary").first.click()
        failed.get_by_text("Traceback", exact=True).click()
        assert "trial.py" in failed.locator("pre").inner_text()
        page.get_by_role("button", name="Show all trials").click()
        assert len(column(page, "trials-table", "variant")) == 30


def test_the_mouse_on_a_point_names_its_trial_and_a_click_leads_there(browser, file):
    with opened(browser, file) as page:
        chart = page.locator("#chart-scores")
        chart.scroll_into_view_if_needed()
        chart.locator("[data-drawn]").wait_for()
        point = chart.locator("svg .mark-symbol path").first
        box = point.bounding_box()
        page.mouse.move(box["x"] + 3, box["y"] + 3)
        shown = page.locator("#vg-tooltip-element").inner_text()
        ids = column(page, "trials-table", "trial")
        named = [trial for trial in ids if trial in shown]
        assert len(named) == 1
        page.mouse.click(box["x"] + 3, box["y"] + 3)
        assert page.evaluate("location.hash") == f"#{named[0]}"


def test_the_data_of_charts_are_those_of_the_tables(browser, file):
    with opened(browser, file) as page:
        specs = page.evaluate("JSON.parse(document.getElementById('data').textContent).charts")
        variants = column(page, "variants-table", "variant")
        for chart, heading in (("scores", "test error"), ("differences", "difference to baseline"),
                               ("time_ratios", "training step, times")):  # fmt: skip
            cells = dict(zip(variants, column(page, "variants-table", heading), strict=True))
            dots = {
                value["of"]: value["estimate"]
                for layer in specs[chart]["layer"]
                for value in layer["data"]["values"]
                if "of" in value
            }
            assert dots == {k: v for k, v in cells.items() if v not in ("–", "baseline")}


def test_pictures_follow_the_step_and_the_outlines_can_go(browser, file):
    with opened(browser, file) as page:
        first = page.locator("#strips .strip").nth(2)
        assert first.locator("polygon:not(.under)").count() == 12  # six examples, two transformers
        colours = first.locator("polygon:not(.under)").evaluate_all(
            "(all) => [...new Set(all.map((each) => getComputedStyle(each).stroke))]"
        )
        assert len(colours) == 2
        points = first.locator("polygon").first.get_attribute("points")
        page.locator("#step").focus()
        page.keyboard.press("Home")
        assert page.locator("#step-now").inner_text() == "step 0"
        assert first.locator("polygon").first.get_attribute("points") != points
        page.get_by_label("Show where each transformer looks").uncheck()
        assert first.locator("polygon").count() == 0
        loaded = page.evaluate("[...document.images].every((i) => i.complete && i.naturalWidth)")
        assert loaded


def test_hostile_names_are_inert(browser, tmp_path):
    study = made_up.study(tmp_path, seeds=2)
    evil = study.variants[3].model_copy(update={"name": HOSTILE, "arm": HOSTILE})
    variants = (*study.variants[:3], evil, *study.variants[4:])
    study = study.model_copy(update={"variants": variants, "question": HOSTILE})
    made_up.fill(tmp_path, study, failing=0)
    trial = next(t for t in study.trials("cpu") if t.variant == HOSTILE and t.seed == 1)
    broken = made_up.row(trial, status="failed", failure=HOSTILE, failure_kind="exception",
                         traceback=HOSTILE, attempt=2, seconds=1.0, host=HOSTILE)  # fmt: skip
    ResultStore(tmp_path).write(broken)
    made = write_report(study, tmp_path)
    for width in (400, 1600):
        with opened(browser, made.html, width, charts=True) as page:
            assert HOSTILE.strip() in column(page, "variants-table", "variant")
            assert page.evaluate("document.querySelectorAll('script').length") == 5
            assert page.evaluate("document.querySelectorAll('img[src=x]').length") == 0
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.locator("h1").bounding_box()["width"] <= width


def test_the_policy_allows_the_scripts_of_the_page_and_no_other(browser, file, tmp_path):
    text = file.read_text()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    assert "unsafe-eval" not in policy and "script-src 'unsafe" not in policy
    changed = tmp_path / "changed.html"
    changed.write_text(text.replace("</main>", "<script>document.title = 'owned'</script></main>"))
    context = browser.new_context(offline=True)
    page = context.new_page()
    page.goto(changed.as_uri())
    assert page.title() == "made_up"
    context.close()
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    assert set(json.loads(data)) == {"charts", "themes", "pictures"}
