"""A variant's data on the device, kept from trial to trial of a warm worker."""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from .. import build
from ..datasets.dataset import Dataset, Resident, Splits
from ..errors import BadData, BenchError
from ..study.content import digest, located
from ..study.study import canonical_json
from .task import Place


def resident(settings: Mapping[str, Any], seed: int, place: Place) -> Resident:
    """The data set of a variant on its device, its batches drawn from a seed."""
    dataset: Dataset = build.dataset(settings, place.data_dir, place.folder)
    return Resident(dataset, splits(settings, place), seed)


def splits(settings: Mapping[str, Any], place: Place) -> Splits:
    """What a variant's examples are made of, before they are distorted."""
    plain = {key: value for key, value in settings["dataset"].items() if key != "distortion"}
    return _splits(canonical_json(plain), place)


@lru_cache(maxsize=1)
def _splits(dataset: str, place: Place) -> Splits:
    reference = json.loads(dataset)
    try:
        for key, content in reference.get("content", {}).items():
            path = located(place.folder, reference[key])
            if digest(path) != content:
                raise BenchError(f"{path} is not what it was when the study was read; run it again")
        found: Dataset = build.dataset({"dataset": reference}, place.data_dir, place.folder)
        loaded = found.load()
    except BenchError as error:
        raise BadData(str(error)) from error
    return loaded.to(place.device)
