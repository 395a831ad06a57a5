"""Which arrangements of spatial transformers make sense, and why the others do not."""

import re

from .schema import Transformer

# A placement by its name in Finnveden et al., 2020.
BY_NAME = re.compile(r"(C|DL|SL)\d+")

# What these models have is one feature map, the image itself.
NO_FEATURE_MAPS = ("fcn", "rnn")


def arrangement_problems(spatial: Transformer, model: str) -> list[tuple[str, str]]:
    """What is wrong between the keys of a `model.transformer`, as `(key, what)`."""
    problems: list[tuple[str, str]] = []
    places = [spatial.placement] if isinstance(spatial.placement, str) else spatial.placement
    named = [where for where in places if BY_NAME.fullmatch(where)]
    inside = [where for where in places if where not in ("input", "C0")]
    if len(set(places)) < len(places):
        problems.append(("placement", "names a place twice"))
    if named and len(places) > 1:
        problems.append(("placement", f"`{named[0]}` stands alone, not in a list"))
    if inside and model in NO_FEATURE_MAPS:
        text = f"`{model}` has no feature map but its input, so nothing can stand at `{inside[0]}`"
        problems.append(("placement", text))
    if spatial.output_size and len(places) > 1:
        problems.append(("output_size", "is of one placement, and there are several"))
    for key in ("count", "pool", "iterations"):
        if named and getattr(spatial, key) > 1:
            problems.append((key, f"must be 1 at `{named[0]}`; write the placement by layer"))
    if spatial.network != "own" and spatial.count == 1:
        problems.append(("network", f"`{spatial.network}` needs a `count` of at least 2"))
    if spatial.join != "channels" and (spatial.count == 1 or places != ["input"]):
        problems.append(("join", f"`{spatial.join}` needs several transformers at the input"))
    if spatial.join == "channels" and spatial.count > 1 and inside:
        text = "must be 1 inside a model: joined outputs have more channels than the layer reads"
        problems.append(("count", text))
    if spatial.iterations > 1 and (spatial.count > 1 or spatial.theta_forward):
        problems.append(("iterations", "must be 1 with several transformers or `theta_forward`"))
    if spatial.theta_forward and (spatial.count > 1 or places != ["input"]):
        text = "needs one transformer at the input: elsewhere the layer reads no further channels"
        problems.append(("theta_forward", text))
    return problems
