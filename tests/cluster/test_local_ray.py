"""A run on a Ray of its own, looked at from outside: what it shows to others, and what it costs."""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest
from command import ROOT

from bench.results import ResultStore

LOOPBACK = ("127.0.0.1", "::1")
TRIALS = 200


def family(driver):
    """The living processes of a run: its descendants, and what has been orphaned beside them."""
    found = {}
    mine = {p.pid for p in psutil.Process(driver.pid).children(recursive=True)}
    for process in psutil.process_iter():
        try:
            ours = process.pid in mine or process.environ().get("STN_TEST") == str(driver.args[-2])
            if ours and process.pid != driver.pid:
                found[process] = (process.cmdline(), process.environ())
        except psutil.Error:
            continue
    return found


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A run that is held at its first trials, looked at, and let go; in a home of its own."""
    folder = tmp_path_factory.mktemp("run")
    temporary = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))  # a socket's path may not be long
    hold = folder / "hold"
    hold.touch()
    script = Path(__file__).with_name("driver_overhead.py")
    clean = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    driver = subprocess.Popen(
        [sys.executable, str(script), "ours", str(folder), str(TRIALS)],
        stdout=subprocess.PIPE, text=True, cwd=ROOT,
        env=clean | {"HOME": str(folder), "RAY_TMPDIR": str(temporary), "STN_TEST": str(folder)},
    )  # fmt: skip
    try:
        store, deadline = ResultStore(folder / "store"), time.time() + 240
        while not any(mark.phase == "accuracy" for mark in store.marks()):
            assert driver.poll() is None and time.time() < deadline, "nothing has begun"
            time.sleep(0.1)
        seen = family(driver)
        listening = [
            (" ".join(words), connection.laddr)
            for process, (words, _) in seen.items()
            for connection in process.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN
        ]
        hold.unlink()
        out, _ = driver.communicate(timeout=300)
        assert driver.returncode == 0
        found = json.loads(out.splitlines()[-1])
        yield {
            "processes": list(seen.values()), "listening": listening, "found": found,
            "home": folder, "temporary": temporary,
        }  # fmt: skip
    finally:
        driver.kill()
        shutil.rmtree(temporary, ignore_errors=True)


def token(ran):
    tokens = {environment.get("RAY_AUTH_TOKEN") for _, environment in ran["processes"]} - {None}
    assert len(tokens) == 1
    return tokens.pop()


@pytest.mark.ray
def test_a_local_ray_asks_for_a_token_of_this_run_alone(ran):
    raylets = [env for words, env in ran["processes"] if "raylet" in words[0]]
    assert raylets and all(env["RAY_AUTH_MODE"] == "token" for env in raylets)
    assert len(bytes.fromhex(token(ran))) == 32


@pytest.mark.ray
def test_the_token_is_on_no_command_line_and_in_no_file(ran):
    secret = token(ran)
    assert len(ran["processes"]) > 4
    assert [words for words, _ in ran["processes"] if secret in " ".join(words)] == []
    files = [f for top in ("home", "temporary") for f in ran[top].rglob("*") if f.is_file()]
    assert any("logs" in f.parts for f in files), "Ray's logs are not among them"
    assert [str(f) for f in files if secret.encode() in f.read_bytes()] == []
    assert not (ran["home"] / ".ray" / "auth_token").exists()


@pytest.mark.ray
def test_nothing_is_told_to_ray_and_no_dashboard_is_open_to_others(ran):
    assert {env.get("RAY_USAGE_STATS_ENABLED") for _, env in ran["processes"]} <= {"0", None}
    raylets = [env for words, env in ran["processes"] if "raylet" in words[0]]
    assert all(env["RAY_USAGE_STATS_ENABLED"] == "0" for env in raylets)
    open_ = [(words, place) for words, place in ran["listening"] if place.ip not in LOOPBACK]
    assert [words for words, place in open_ if place.port == 8265 or "dashboard.py" in words] == []


@pytest.mark.ray
def test_a_trial_costs_the_driver_five_milliseconds_at_most(ran):
    found = ran["found"]
    assert found["trials"] == len(found["driver_ms"]) + 1 == TRIALS
    assert statistics.mean(found["driver_ms"]) <= 5
