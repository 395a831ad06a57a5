"""Findings to one HTML file: sections, the data of charts and pictures, scripts and a policy."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

import jinja2

from ..charts import Chart, theme
from ..tables import Table
from .trials import Trials


@dataclass(frozen=True)
class Grid:
    """A table that can be sorted, and filtered where it is long.

    Attributes:
        table: Its name is the element's id.
        label: What it is, for those who hear it.
        groups: Of each row the place of the variant whose trials its numbers lead to; none where
            they lead nowhere.
    """

    table: Table
    label: str
    groups: Sequence[int] = ()


@dataclass(frozen=True)
class Section:
    """A part of the page, and whatever it has of tables, charts, pictures, trials and lines."""

    anchor: str
    title: str
    note: str = ""
    tables: Sequence[Grid] = ()
    charts: Sequence[Chart] = ()
    pictures: bool = False
    trials: Trials | None = None
    reading: str = ""
    folded: Sequence[str] = ()
    lines: Sequence[str] = ()
    command: str = ""

    @property
    def shows(self) -> bool:
        """Whether there is anything in it."""
        parts = (self.tables, self.charts, self.pictures, self.trials, self.lines, self.command)
        return any(parts)


@dataclass(frozen=True)
class Page:
    """All that a page shows; a report and a comparison are both one.

    Attributes:
        kind: What kind of page it is, in a word or two above the title.
        counts: Numbers of the first screen, each with its words; in colour by the words.
        settings: How the study was run, where that was not as its file says.
        pictures: What `pictures` gives.
    """

    kind: str
    title: str
    question: str
    answer: Sequence[str]
    counts: Sequence[tuple[int, str]]
    sections: Sequence[Section]
    settings: str = ""
    pictures: Sequence[Mapping[str, Any]] = field(default_factory=list)


def html(page: Page) -> str:
    """The page as one file: styles, scripts, charts and pictures are in it."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        loader=jinja2.PackageLoader("bench.report.page", "."),
    )  # fmt: skip
    drawn = {chart.name: chart for section in page.sections for chart in section.charts}
    data = {
        "charts": {name: chart.spec for name, chart in drawn.items()},
        "themes": {"light": theme(dark=False), "dark": theme(dark=True)},
        "pictures": page.pictures,
    }
    scripts = [*([vega()] if drawn else []), *map(_file, ("tables.js", "charts.js", "pictures.js"))]
    hashes = " ".join(f"'sha256-{_digest(script)}'" for script in scripts)
    return environment.get_template("report.html.j2").render(
        **vars(page),
        data=_inert(json.dumps(data, ensure_ascii=False, separators=(",", ":"))),
        scripts=scripts,
        style=_file("style.css"),
        policy=f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:",
    )


@cache
def vega() -> str:
    """Vega, Vega-Lite and vega-embed as one script, out of vl-convert; takes seconds."""
    import vl_convert

    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return bundle.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _file(name: str) -> str:
    return resources.files("bench.report.page").joinpath(name).read_text("utf-8")


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _inert(text: str) -> str:
    """JSON that cannot end the element it stands in, or begin another."""
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
