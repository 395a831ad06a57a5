"""What the transformers of each variant see, out of a store's rows, as data for the page."""

import base64
import struct
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from ..findings import Findings

# What pictures may add to a page, in bytes of text: a page is at most 15 MB in all.
BUDGET = 6_000_000


def pictures(findings: Findings, table: pa.Table) -> list[dict[str, Any]]:
    """Pictures of the first seed that has some, a variant each, in the study's order.

    Where they would make the page too heavy, later variants are left out.
    """
    column, names = table["pictures"], table["trial_id"].to_pylist()
    rows_of = {names[i]: i for i, each in enumerate(column) if each.is_valid and len(each)}
    ids: dict[str, int] = {}
    for trial in findings.trials:
        if trial.trial_id in rows_of:
            ids.setdefault(trial.variant, rows_of[trial.trial_id])
    made, room = [], BUDGET
    for row in findings.rows:
        if row.variant not in ids:
            continue
        taken = column[ids[row.variant]].as_py()
        room -= sum(len(each["png"]) * 4 // 3 + 8 * len(each["outline"]) for each in taken)
        if room < 0:
            break
        made.append(_variant(row.variant, taken))
    return made


def _variant(name: str, taken: Sequence[dict[str, Any]]) -> dict[str, Any]:
    inputs, outputs, errors = (
        [p for p in taken if p["kind"] == kind] for kind in ("input", "output", "error")
    )
    examples = {
        p["example"]: {
            "example": p["example"], "label": p["label"], "looks": {},
            "png": _text(p["png"]), "size": _size(p["png"]),
        }
        for p in inputs
    }  # fmt: skip
    for each in outputs:
        looks = examples[each["example"]]["looks"].setdefault(each["step"], {})
        outline = [round(value, 1) for value in each["outline"]]
        looks[each["transformer"]] = {"png": _text(each["png"]), "outline": outline}
    return {
        "name": name,
        "transformers": list(dict.fromkeys(p["transformer"] for p in outputs)),
        "steps": sorted({p["step"] for p in outputs}) or [0],
        "examples": [examples[key] for key in sorted(examples)],
        "errors": [
            {"png": _text(p["png"]), "label": p["label"], "predicted": p["predicted"]}
            for p in errors
        ],
    }


def _text(png: bytes) -> str:
    return base64.b64encode(png).decode("ascii")


def _size(png: bytes) -> tuple[int, int]:
    """Width and height, from the header of a PNG file."""
    return struct.unpack(">II", png[16:24])
