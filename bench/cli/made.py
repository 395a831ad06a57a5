"""The report that the last run made, where nothing has changed since that it was made from."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..environment import code_hash, local_device
from ..errors import BenchError
from ..results import ResultStore
from ..study import Study
from ..study.content import file_hash

if TYPE_CHECKING:
    from ..report import Report

NAME = "made_from.json"


@dataclass(frozen=True)
class Made:
    """A report that is there: what it says on a terminal, where it lies, what is not done."""

    summary: str
    html: Path
    undone: int


def source(study: Study, results: str, device: str) -> str | None:
    """Hash of all that a report is made from; None while anything is under way on the store.

    Files of a store bear the hash of their content, so their names are enough.
    """
    store = ResultStore(results)
    if store.marks():
        return None
    package = Path(__file__).parents[1]
    code = sorted(f for f in package.rglob("*") if f.is_file() and "__pycache__" not in f.parts)
    parts = [study.as_stored(), str(results), device, local_device(), code_hash(study.own_files())]
    parts += [*store.names(), *map(file_hash, code)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def keep(report: "Report", source: str | None) -> None:
    """Say beside a report what it was made from, and what its files are."""
    folder = report.html.parent
    (folder / NAME).unlink(missing_ok=True)
    if source is None:
        return
    files = {file.name: file_hash(file) for file in folder.iterdir() if file.is_file()}
    found = {"source": source, "summary": report.summary, "undone": report.undone, "files": files}
    try:
        (folder / NAME).write_text(json.dumps(found), "utf-8")
    except OSError as error:
        raise BenchError(f"the report cannot be written: {error}") from error


def kept(study: Study, results: str, source: str | None) -> Made | None:
    """The report in the folder of a study, where it is whole and was made from `source`."""
    folder = ResultStore(results).report_folder(study.name)
    try:
        found = json.loads((folder / NAME).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    if found["source"] != source or not _whole(folder, found["files"]):
        return None
    return Made(found["summary"], folder / "report.html", found["undone"])


def _whole(folder: Path, files: Mapping[str, str]) -> bool:
    there = (folder / name for name in files)
    return all(file.is_file() and file_hash(file) == files[file.name] for file in there)
