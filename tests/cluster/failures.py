"""Every kind of failure is provoked on a real Ray, and what becomes of each study is told.

`python tests/cluster/failures.py` runs a small study a scene with `stn-bench run`: a sound training
and one that is struck, by its own code or from outside. It ends with status 0 where each attempt
left the row that is expected of it and each study ended as expected. `--only lost store` runs
scenes of those kinds alone. Scenes that mount a disk for the store need root, and are named as left
out elsewhere.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[i] / part) for i, part in ((2, ""), (1, "bench"))]

from command import COMMAND, ROOT  # noqa: E402
from record import record  # noqa: E402
from scenes import SCENES, STEPS, STUDY, Case, Scene, write_code  # noqa: E402

from bench.results import ResultStore  # noqa: E402
from bench.study import load_study  # noqa: E402

LONGEST = 110
COLUMNS = ("what was done", "kind", "message", "attempts at it", "`retries`", "how it ended")


def main() -> int:
    """Run it as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], help="kinds of failures")
    parser.add_argument("--output", type=Path, help="a Markdown file for what was found")
    options = parser.parse_args()
    begun, faults, left_out = time.time(), list[str](), list[str]()
    lines = [f"| {' | '.join(COLUMNS)} |", "| --- " * len(COLUMNS) + "|"]
    for scene in SCENES:
        if options.only and scene.kind not in options.only:
            continue
        if scene.disk and (why := not_mounted()):
            left_out.append(f"- left out: {scene.deed}: {why}")
            continue
        line, fault = played(scene)
        print(line, flush=True)
        lines.append(line)
        faults += [f"{scene.deed}: {fault}"] if fault else []
    told = [f"- {fault}" for fault in faults] or ["Every attempt left the row expected of it."]
    took = f"It took {(time.time() - begun) / 60:.0f} minutes."
    record("Every kind of failure", [*lines, "", *left_out, *told, "", took], options.output)
    return 1 if faults else 0


def not_mounted() -> str:
    """Why no disk can be mounted; empty where one can."""
    with tempfile.TemporaryDirectory() as place:
        words = ["mount", "-t", "tmpfs", "tmpfs", place]
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode == 0:
            subprocess.run(["umount", place], check=True)
    return done.stderr.strip()


def played(scene: Scene) -> tuple[str, str]:
    """Play a scene: its line of the table, and what was not as expected."""
    print(f"-- {scene.deed}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_code(folder)
        struck = {"name": "struck", "set": scene.sets}
        variants = [struck] if scene.alone else [{"name": "sound"}, struck]
        words = {"steps": scene.steps or STEPS, "variants": json.dumps(variants)}
        (folder / "failures.yaml").write_text(STUDY.format(**words) + scene.lines)
        (disk := folder / "disk").mkdir()
        if scene.disk:
            mount = ["mount", "-t", "tmpfs", "-o", f"size={scene.disk}", "tmpfs", str(disk)]
            subprocess.run(mount, check=True)
        try:
            return told(scene, folder, run(scene, folder))
        finally:
            if scene.disk:
                subprocess.run(["umount", "-l", str(disk)], check=True)


def run(scene: Scene, folder: Path) -> list[tuple[int, str]]:
    """Run the study of a scene, again where the scene says so: how each run ended, and its words"""
    words = ["run", str(folder / "failures.yaml"), "--device", "cpu", "--json"]
    words += ["--results", str(folder / "disk" / "store")]
    environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0"} | scene.environment()
    ended = []
    with scene.cluster() as address:
        for disturb in scene.disturb:
            driver = subprocess.Popen(
                [*COMMAND, *words, *(["--address", address] if address else [])],
                cwd=ROOT, env=environment, stdout=2, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
            try:
                disturb(Case(folder, ResultStore(folder / "disk" / "store"), driver))
                _, said = driver.communicate(timeout=300)
            finally:
                driver.kill()
            ended.append((driver.returncode, said.strip()))
    return ended


def told(scene: Scene, folder: Path, ended: list[tuple[int, str]]) -> tuple[str, str]:
    """The line of a scene, and what was not as expected."""
    store = ResultStore(folder / "disk" / "store")
    rows = sorted(store.read().table.to_pylist(), key=lambda row: (row["attempt"], row["run_id"]))
    struck = [row for row in rows if row["variant"] == "struck"]
    kinds = [row["failure_kind"] or "done" for row in struck]
    done = {row["variant"] for row in rows if row["status"] == "done"}
    failed = [row for row in struck if row["failure_kind"]]
    retries = load_study(folder / "failures.yaml").retries
    status = [code for code, _ in ended]
    said = failed[0]["failure"] if failed else ended[0][1].split("\n")[-1]
    said = said.replace(str(folder), "…").replace("|", "/").replace("`", "'")
    numbers = ", ".join(f"{r['attempt']}: {r['failure_kind'] or 'done'}" for r in struck)
    words = [
        scene.deed,
        f"`{failed[0]['failure_kind']}`" if failed else "none can be written",
        f"`{said[:LONGEST]}`",
        numbers,
        f"{scene.kind}: {getattr(retries, scene.kind, '—')}",
        f"status {', then '.join(map(str, status))}; done: {', '.join(sorted(done)) or 'none'}",
    ]
    faults = []
    if kinds != scene.kinds:
        faults.append(f"attempts are {kinds}, not {scene.kinds}")
    if status != scene.status:
        faults.append(f"status is {status}, not {scene.status}: {ended[-1][1][-2000:]}")
    if not scene.alone and "sound" not in done:
        faults.append("the sound trial is not done")
    if scene.traceback and not all("Traceback" in (row["traceback"] or "") for row in failed):
        faults.append("there is no traceback")
    if left := [mark.name for mark in store.marks()]:
        faults.append(f"marks are left: {left}")
    if scene.quicker and struck[-1]["seconds"] > scene.quicker:
        faults.append(f"it did not go on from its state: {struck[-1]['seconds']:.0f} s")
    return f"| {' | '.join(words)} |", "; ".join(faults)


if __name__ == "__main__":
    sys.exit(main())
