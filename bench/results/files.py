"""Files that are there whole or not at all: in a folder, on NFS, or in an object store."""

import contextlib
import errno
import hashlib
import io
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as fs
import pyarrow.parquet as pq

from ..errors import DiskFull, InfrastructureError, StoreError

# Of a smaller file threads read no column sooner than they are woken.
LARGE = 1_000_000
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Corrupt(Exception):
    """A file's content is not what its name says."""


def open_location(location: str | Path) -> tuple[fs.FileSystem, str]:
    """File system and path of a store: a folder, or `s3://…`, `gs://…` through `pyarrow.fs`."""
    text = str(location)
    if "://" not in text:
        try:
            folder = os.path.realpath(Path(text).expanduser())
        except RuntimeError as error:  # a home of nobody's
            raise InfrastructureError(f"store {text}: {error}") from None
        if not os.path.isdir(folder):
            _refuse_no_folder(text, Path(folder))
        return fs.LocalFileSystem(), folder
    try:
        return fs.FileSystem.from_uri(text)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InfrastructureError(f"store {text}: cannot be opened: {error}") from None


def _refuse_no_folder(text: str, folder: Path) -> None:
    """What is not there yet can be made, but not behind a file, or on a mount that is gone."""
    try:
        there = next(place for place in (folder, *folder.parents) if place.exists())
    except OSError as error:
        raise StoreError(f"store {text}: cannot be read: {error}") from error
    if not there.is_dir():
        raise InfrastructureError(f"store {text}: {there} is not a folder")


def write_whole(system: fs.FileSystem, path: str, content: bytes, *, durable: bool = True) -> None:
    """Write a file so that no reader, and no crash, ever sees a part of it.

    In a folder: temporary name, fsync, rename, fsync of the folder. In an object store a key
    appears only when its upload is complete. What is not `durable` may be lost when the machine
    dies, and costs no fsync.

    Raises:
        DiskFull: The store has no room left.
        StoreError: The store cannot be written.
    """
    try:
        if not isinstance(system, fs.LocalFileSystem):
            with system.open_output_stream(path) as stream:
                stream.write(content)
            return
        folder, _, name = path.rpartition("/")
        os.makedirs(folder, exist_ok=True)
        temporary = f"{folder}/.{name}.{uuid.uuid4().hex}.tmp"
        try:
            with open(temporary, "wb") as stream:
                stream.write(content)
                if durable:
                    stream.flush()
                    os.fsync(stream.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
        if durable:
            _sync_folder(folder)
    except OSError as error:
        kind = DiskFull if error.errno in FULL else StoreError
        raise kind(f"store: cannot write {path}: {error}") from error


def _sync_folder(folder: str) -> None:
    """Have the names in a folder outlive a crash of the machine."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_bytes(system: fs.FileSystem, path: str) -> bytes:
    """The content of a file.

    Raises:
        FileNotFoundError: There is none.
        StoreError: The store cannot be read.
    """
    with _reading(path):
        if isinstance(system, fs.LocalFileSystem):  # Arrow's own way takes five times as long
            with open(path, "rb") as file:
                return file.read()
        with system.open_input_stream(path) as stream:
            return stream.read()


def list_files(system: fs.FileSystem, folder: str) -> list[fs.FileInfo]:
    """The files of a folder by name; hidden and temporary ones are left out.

    Raises:
        StoreError: The store cannot be read.
    """
    with _reading(folder):
        infos = _entries(system, folder)
    files = [i for i in infos if i.type == fs.FileType.File and not i.base_name.startswith(".")]
    return sorted(files, key=lambda info: info.base_name)


@contextlib.contextmanager
def _reading(path: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StoreError(f"store: cannot read {path}: {error}") from error


def _entries(system: fs.FileSystem, folder: str) -> list[fs.FileInfo]:
    """Entries of a folder; listing trips over what comes and goes meanwhile, so it tries again."""
    for _ in range(5):
        with contextlib.suppress(FileNotFoundError):
            return system.get_file_info(fs.FileSelector(folder, allow_not_found=True))
    return system.get_file_info(fs.FileSelector(folder, allow_not_found=True))


def to_parquet(table: pa.Table) -> tuple[str, bytes]:
    """Parquet bytes of a table, and their sha256, which goes into the file's name.

    Of a single row dictionaries and statistics would say all once more: without them, and with
    lighter compression, it takes half the time to write and to read, and half the room.
    """
    buffer = io.BytesIO()
    form: dict[str, Any] = {"compression": "zstd"}
    if table.num_rows == 1:
        form = {"compression": "snappy", "use_dictionary": False, "write_statistics": False}
    pq.write_table(table, buffer, write_page_checksum=True, **form)
    content = buffer.getvalue()
    return hashlib.sha256(content).hexdigest(), content


def from_parquet(content: bytes, digest: str, columns: list[str] | None = None) -> pa.Table:
    """Read Parquet bytes back, after their sha256 has been compared with `digest`.

    Of `columns` those are read that the file has; None reads all.

    Raises:
        Corrupt: They are not what was written.
    """
    if hashlib.sha256(content).hexdigest() != digest:
        raise Corrupt("its content does not have the hash in its name")
    try:
        file = pq.ParquetFile(pa.BufferReader(content))
        wanted = columns
        if columns is not None:
            there = file.schema_arrow.names
            wanted = [name for name in columns if name in there]
        return file.read(columns=wanted, use_threads=len(content) > LARGE)
    except pa.ArrowInvalid as error:
        raise Corrupt("its content is not Parquet") from error
