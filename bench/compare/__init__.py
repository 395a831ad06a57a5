"""Store against store: what changed, by how much, how sure."""

from .comparison import (
    Comparison as Comparison,
    Side as Side,
    compare as compare,
    side as side,
)
from .output import as_json as as_json, markdown as markdown, text as text, write as write
