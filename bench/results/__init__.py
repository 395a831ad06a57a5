"""The store of results: one immutable Parquet file an attempt, read back as pandas frames."""

from .schema import (
    SCHEMA as SCHEMA,
    SCHEMA_VERSION as SCHEMA_VERSION,
    Attempt as Attempt,
    CurvePoint as CurvePoint,
    Metric as Metric,
    Picture as Picture,
    TimingSample as TimingSample,
)
from .store import ResultStore as ResultStore
