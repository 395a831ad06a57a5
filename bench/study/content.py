"""What a file of the user's data holds, in one hash: a changed file is another data set."""

import hashlib
import os
from functools import lru_cache
from pathlib import Path

from ..errors import BenchError


def located(study_dir: Path, path: str) -> Path:
    """Where a path of a study leads, absolute or relative to the study's folder."""
    return study_dir / Path(path).expanduser()


@lru_cache(maxsize=64)
def digest(path: Path) -> str:
    """The sha256 of a file's content, or of the names and sizes of all files in a folder.

    It is kept until `digest.cache_clear()`.

    Raises:
        BenchError: There is nothing of that name.
    """
    if path.is_dir():
        files = (Path(place) / name for place, _, names in os.walk(path) for name in names)
        listing = sorted(f"{file.relative_to(path)}\0{file.stat().st_size}\n" for file in files)
        return hashlib.sha256("".join(listing).encode()).hexdigest()
    try:
        return file_hash(path)
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror}") from None


def file_hash(file: Path) -> str:
    """The sha256 of a file's content."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
