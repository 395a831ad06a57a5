"""Charts of a study as Vega-Lite: the page draws them, and Markdown has them as SVG files."""

import json
from collections.abc import Iterable

from ..findings import Findings
from .chart import Chart as Chart, Dot as Dot, dots as dots, theme as theme
from .comparisons import accuracy_speed, differences, effects, scores, time_ratios
from .course import curves, distributions, time_line


def charts(findings: Findings) -> dict[str, Chart]:
    """The charts that have something to show, by name."""
    made: Iterable[Chart | None] = (
        scores(findings),
        differences(findings),
        accuracy_speed(findings),
        time_ratios(findings),
        *effects(findings),
        *curves(findings),
        *distributions(findings),
        time_line(findings),
    )
    return {chart.name: chart for chart in made if chart is not None}


def svg(chart: Chart) -> str:
    """The chart as it stands on a white page."""
    import vl_convert

    spec = {**chart.spec, "width": 560, "config": theme(dark=False), "background": "white"}
    return vl_convert.vegalite_to_svg(json.dumps(spec))
