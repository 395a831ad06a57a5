"""What a training on several workers may hold, and which of their failures counts."""

import pytest
import torch
from torch import nn

from bench.data_parallel import Ranks, check_shared
from bench.errors import BenchError
from bench.trial import Failed


def test_the_shares_are_the_batch():
    batch = torch.arange(12).view(6, 2)
    assert torch.equal(torch.cat([Ranks(i, 3).share(batch) for i in range(3)]), batch)


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (nn.BatchNorm2d(3), "`BatchNorm2d` takes statistics of the whole batch"),
        (nn.Dropout(0.5), "`Dropout` drops other values"),
    ],
)
def test_what_a_share_of_a_batch_would_change_is_refused(module, words):
    with pytest.raises(BenchError, match=words):
        check_shared(nn.Sequential(nn.Linear(2, 2), module).modules())


def test_layers_that_see_one_image_at_a_time_are_not_refused():
    check_shared(nn.Sequential(nn.GroupNorm(1, 2), nn.Dropout(0.0), nn.LayerNorm(2)).modules())


class Ended(Exception):
    """As Ray Train raises it."""

    def __init__(self, **failures):
        self.worker_failures = {int(rank[1:]): error for rank, error in failures.items()}


def test_of_several_failures_that_counts_which_the_others_came_of():
    from ray.exceptions import OutOfMemoryError

    from bench.runner.group import first_failure

    partner = Failed("PartnerGone: connection closed", "lost", "trace")
    memory = Failed("OutOfMemoryError: no", "out_of_memory", "trace")
    assert first_failure(Ended(_0=partner, _1=memory)) is memory
    assert first_failure(Ended(_0=partner)) is partner
    died = first_failure(Ended(_0=partner, _1=RuntimeError("its node has died")))
    assert isinstance(died, Failed) and died.kind == "node_lost"
    killed = first_failure(Ended(_0=memory, _1=OutOfMemoryError("by Ray")))
    assert isinstance(killed, Failed) and killed.kind == "out_of_host_memory"
    start = first_failure(ValueError("no controller"))
    assert isinstance(start, Failed) and start.kind == "lost"
