"""Trainings that several processes share: what they learn, may hold, and which failure counts."""

import math
import multiprocessing
import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from test_training import SETTINGS, Killed, data
from torch import nn

from bench.data_parallel import Ranks, check_shared
from bench.errors import BenchError
from bench.results import ResultStore
from bench.resume import Halfway
from bench.training import train
from bench.trial import Failed

SHARED = SETTINGS | {"optimizer": "sgd", "momentum": 0.9, "clip_norm": 0.5}


def learned(ranks, halfway=None, kill_at=math.inf):
    """Curves and weights of a training that is killed when so many batches were drawn."""
    torch.manual_seed(0)
    net, same, drawn = nn.Sequential(nn.Flatten(), nn.Linear(9, 2)), data(), []
    batch = same.batch

    def counted(size):
        drawn.append(size)
        if len(drawn) > kill_at:
            raise Killed
        return batch(size)

    same.batch = counted
    curves = train(net, same, SHARED, halfway=halfway, ranks=ranks)
    return [(c.name, c.step, c.value) for c in curves], net.state_dict(), len(drawn)


def share(rank, folder):
    """What each of two processes does."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=2)
    ranks, store = Ranks(rank, 2), ResultStore(folder)

    def halfway(every):
        return Halfway(store, "t", "code", math.inf if rank else every)

    whole = learned(ranks)
    try:
        learned(ranks, halfway(0.0), kill_at=15)
    except Killed:
        dist.barrier()
    torch.save((whole, learned(ranks, halfway(1e9))), folder / f"{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_learn_what_one_does_and_go_on_to_the_bit(tmp_path: Path):
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=share, args=(rank, tmp_path)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    (curves, weights, drawn), again = torch.load(tmp_path / "0.pt")
    other, other_again = torch.load(tmp_path / "1.pt")
    assert (curves, drawn) == (other[0], SHARED["steps"])
    assert [again[0], other_again[0]] == [curves, curves]
    assert again[2] == other_again[2] == SHARED["steps"] - 15
    alone, expected, _ = learned(Ranks())
    for name in expected:
        for same in (other, again, other_again):
            assert torch.equal(same[1][name], weights[name])
        torch.testing.assert_close(weights[name], expected[name], rtol=0, atol=1e-6)
    assert [point[:2] for point in curves] == [point[:2] for point in alone]
    assert [p[2] for p in curves] == pytest.approx([p[2] for p in alone], abs=1e-6)


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
    assert died.failure == "NodeLost: its node has died"
    killed = first_failure(Ended(_0=memory, _1=OutOfMemoryError("by Ray")))
    assert isinstance(killed, Failed) and killed.kind == "out_of_host_memory"
    start = first_failure(ValueError("no controller"))
    assert isinstance(start, Failed) and start.kind == "lost"
