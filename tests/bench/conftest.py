"""A bucket, or a small disk, of its own for each test that asks for one."""

import shutil
import subprocess
import sys
import threading
import time
import urllib.request

import pytest


@pytest.fixture(scope="session")
def server():
    """A server of S3 on loopback, a process of its own."""
    pytest.importorskip("moto.server", reason="moto's server is not installed")
    words = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as it:
        assert it.stdout is not None
        address = next(line.split()[-1] for line in it.stdout if "Running on http" in line)
        # Nobody else reads what it says of every request, and a full pipe would stop it.
        threading.Thread(target=it.stdout.read, daemon=True).start()
        yield address.removeprefix("http://")
        it.kill()


@pytest.fixture
def bucket(server, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    name = f"stn-{time.monotonic_ns()}"
    request = urllib.request.Request(f"http://{server}/{name}", method="PUT")
    urllib.request.urlopen(request, timeout=30).close()
    return f"s3://{name}/below/store?endpoint_override={server}&scheme=http&region=us-east-1"


@pytest.fixture
def small_disk(tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(words, capture_output=True).returncode:
        pytest.skip("this user may mount nothing")
    yield place
    subprocess.run(["umount", str(place)], check=True)
