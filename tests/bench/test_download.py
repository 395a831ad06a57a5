"""Downloads from a server of our own: checked, resumed, whole or not there."""

import gzip
import hashlib
import io
import tarfile
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bench.datasets import download, mnist
from bench.datasets.download import Remote, fetch, unpack
from bench.errors import BenchError


@dataclass
class Site:
    """A server: it has `files`, and sends `limit` bytes before it hangs up."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    limit: int | None = None
    resumes: bool = True
    asked: list[tuple[str, str | None]] = field(default_factory=list)


@pytest.fixture
def site():
    has = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):  # noqa: N802
            content = has.files.get(self.path)
            given = self.headers.get("Range")
            has.asked.append((self.path, given))
            if content is None:
                return self.send_error(404)
            start = int(given[6:-1]) if given and has.resumes else 0
            if start and start >= len(content):
                return self.send_error(416)
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            self.wfile.write(content[start:][: has.limit])

        def log_message(self, format, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    has.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield has
    server.shutdown()
    thread.join()
    server.server_close()


def offer(site, name, content):
    site.files[f"/{name}"] = content
    return Remote(f"{site.url}/{name}", hashlib.md5(content).hexdigest())


CONTENT = bytes(range(256)) * 500


def test_a_file_is_downloaded_once(site, tmp_path):
    remote = offer(site, "data.bin", CONTENT)
    file = fetch(remote, tmp_path / "new", "x")
    assert fetch(remote, tmp_path / "new", "x") == file
    assert file.read_bytes() == CONTENT
    assert site.asked == [("/data.bin", None)]
    assert [f.name for f in file.parent.iterdir()] == ["data.bin"]


@pytest.mark.parametrize("resumes", [True, False])
def test_a_download_that_was_cut_off_goes_on(site, tmp_path, resumes):
    remote = offer(site, "data.bin", CONTENT)
    site.limit, site.resumes = 1000, resumes
    with pytest.raises(BenchError, match="the connection ended early; run again to go on"):
        fetch(remote, tmp_path, "x")
    assert [f.name for f in tmp_path.iterdir()] == ["data.bin.part"]
    site.limit = None
    assert fetch(remote, tmp_path, "x").read_bytes() == CONTENT
    assert site.asked[1] == ("/data.bin", "bytes=1000-")
    assert [f.name for f in tmp_path.iterdir()] == ["data.bin"]


def test_a_whole_part_needs_no_download(site, tmp_path):
    remote = offer(site, "data.bin", CONTENT)
    (tmp_path / "data.bin.part").write_bytes(CONTENT)
    assert fetch(remote, tmp_path, "x").read_bytes() == CONTENT


@pytest.mark.parametrize("place", ["site", "folder"])
def test_a_file_with_another_checksum_is_not_taken(site, tmp_path, place):
    remote = offer(site, "data.bin", CONTENT)
    if place == "site":
        site.files["/data.bin"] = b"<html>"
    else:
        (tmp_path / "data.bin").write_bytes(b"<html>")
    mend = "run again" if place == "site" else "delete it"
    with pytest.raises(BenchError, match=f"^data set `x`: .*bin.* is damaged .its MD5 .*; {mend}$"):
        fetch(remote, tmp_path, "x")
    assert len(list(tmp_path.iterdir())) == (place == "folder")


def test_a_file_that_the_site_does_not_have(site, tmp_path):
    remote = Remote(f"{site.url}/none", "")
    with pytest.raises(BenchError, match=r"downloaded \(Not Found\); put http://.*/none there, or"):
        fetch(remote, tmp_path, "x")
    assert not list(tmp_path.iterdir())


def test_two_at_once_download_once(site, tmp_path):
    remote = offer(site, "data.bin", CONTENT)
    threads = [threading.Thread(target=fetch, args=(remote, tmp_path, "x")) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(site.asked) == 1
    assert [f.name for f in tmp_path.iterdir()] == ["data.bin"]


def tar(folder, names):
    with tarfile.open(folder / "data.tar.gz", "w:gz") as stream:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = 3
            stream.addfile(info, io.BytesIO(b"abc"))
    return folder / "data.tar.gz"


def test_a_folder_is_unpacked_whole(tmp_path):
    unpack(tar(tmp_path, ["data/1", "data/in/2", "other"]), "data")
    assert (tmp_path / "data" / "in" / "2").read_bytes() == b"abc"
    assert sorted(f.name for f in tmp_path.iterdir()) == ["data", "data.tar.gz"]


@pytest.mark.parametrize("damage", ["cut", "outside", "none"])
def test_an_archive_that_cannot_be_unpacked_leaves_nothing(damage, tmp_path):
    names = {"cut": ["data/1"] * 400, "outside": ["../evil"], "none": ["other/1"]}[damage]
    archive = tar(tmp_path, names)
    if damage == "cut":
        archive.write_bytes(archive.read_bytes()[:-100])
    with pytest.raises(BenchError, match=r"data\.tar\.gz cannot be unpacked: "):
        unpack(archive, "data")
    assert [f.name for f in tmp_path.iterdir()] == ["data.tar.gz"]


def test_mnist_is_downloaded(site, tmp_path, monkeypatch):
    def idx(*shape):
        return bytes([0, 0, 8, len(shape), *b"".join(n.to_bytes(4, "big") for n in shape)]) + bytes(
            shape[0] * (784 if len(shape) == 3 else 1)
        )

    files = {}
    for name in mnist.FILES:
        shape = (4, 28, 28) if "images" in name else (4,)
        files[name] = offer(site, f"{name}.gz", gzip.compress(idx(*shape))).md5
    monkeypatch.setattr(mnist, "FILES", files)
    monkeypatch.setattr(mnist, "SITE", site.url)
    splits = mnist.read_mnist(tmp_path)
    assert [len(s) for s in (splits.train, splits.validation, splits.test)] == [2, 2, 4]
    mnist.read_mnist(tmp_path)
    assert len(site.asked) == 4


def test_the_place_without_a_folder_is_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert download.data_folder(None) == tmp_path / ".cache" / "stn-bench"
    assert download.data_folder(tmp_path) == tmp_path
