"""Downloads: checked against a checksum, resumed where they were cut off, there whole or not."""

import fcntl
import gzip
import hashlib
import os
import shutil
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO

from ..errors import BenchError

CHUNK = 1 << 20
TIMEOUT = 30


@dataclass(frozen=True)
class Remote:
    """A file on an official site, with the checksum that is known of it."""

    url: str
    md5: str

    @property
    def name(self) -> str:
        """The file's own name."""
        return self.url.rpartition("/")[2]


def data_folder(data_dir: Path | None) -> Path:
    """The folder of the data sets: what --data-dir names, or one of the user's cache."""
    return data_dir or Path.home() / ".cache" / "stn-bench"


def fetch(remote: Remote, folder: Path, dataset: str) -> Path:
    """The file in a folder, downloaded where it is not there yet.

    What was downloaded before a break lies beside it with the suffix `.part`, and is gone on with.

    Raises:
        BenchError: It is not there and cannot be had, or has another checksum.
    """
    file = folder / remote.name
    part = file.with_name(f"{file.name}.part")
    try:
        if file.is_file():
            return _checked(file, remote, dataset)
        folder.mkdir(parents=True, exist_ok=True)
        with part.open("ab") as stream:
            # Of two processes the second one waits, and finds the file.
            fcntl.flock(stream, fcntl.LOCK_EX)
            if not file.is_file():
                _download(remote.url, stream)
                os.replace(_checked(part, remote, dataset), file)
        return file
    except OSError as error:
        reason = getattr(error, "reason", None) or error.strerror or error
        raise BenchError(
            f"data set `{dataset}`: {file} is not there and cannot be downloaded ({reason}); "
            f"put {remote.url} there, or name another folder with --data-dir"
        ) from None
    finally:
        if part.is_file() and part.stat().st_size == 0:
            part.unlink()


def unpack(archive: Path, name: str) -> None:
    """Unpack folder `name` of a tar file beside it, whole or not at all."""
    try:
        with (
            tempfile.TemporaryDirectory(dir=archive.parent, prefix=".unpacking-") as place,
            tarfile.open(archive) as tar,
        ):
            tar.extractall(place, filter="data")
            os.replace(Path(place) / name, archive.parent / name)
    except (OSError, tarfile.TarError, EOFError) as error:
        raise BenchError(f"{archive} cannot be unpacked: {error}") from None


def decompress(file: Path) -> None:
    """Decompress `file.gz` beside it, whole or not at all."""
    whole = file.with_suffix("")
    part = whole.with_name(f"{whole.name}.part")
    part.write_bytes(gzip.decompress(file.read_bytes()))
    os.replace(part, whole)


def _download(url: str, part: BinaryIO) -> None:
    """Append to `part` what it lacks of a file."""
    done = part.seek(0, os.SEEK_END)
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # nothing is lacking
        raise
    with answer:
        if done and answer.status != HTTPStatus.PARTIAL_CONTENT:  # a server that begins anew
            part.truncate(done := 0)
        size = int(answer.headers.get("Content-Length") or 0)
        print(f"downloading {url} ({size / 1e6:.0f} MB)", file=sys.stderr, flush=True)
        shutil.copyfileobj(answer, part, CHUNK)
    part.flush()
    if size and part.tell() < done + size:
        raise ConnectionError("the connection ended early; run again to go on")


def _checked(file: Path, remote: Remote, dataset: str) -> Path:
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != remote.md5:
        mend = "delete it"
        if file.suffix == ".part":  # our own
            file.unlink()
            mend = "run again"
        raise BenchError(
            f"data set `{dataset}`: {file} is damaged "
            f"(its MD5 is {found}, not {remote.md5}); {mend}"
        )
    return file
