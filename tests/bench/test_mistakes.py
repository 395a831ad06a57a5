"""Mistakes around a run, each with the one message that it gets, and what must survive them."""

import os

import pytest
from command import QUICKSTART, stn_bench

from bench.environment import local_device
from bench.errors import BenchError
from bench.results import ResultStore

SMALL = ["train.steps=1", "seeds=1", "--in-process"]

OWN = """
from torch import nn

class Net(nn.Module):
    def __init__(self, in_shape, num_classes):
        super().__init__()
        {body}
"""


def test_a_store_under_the_home_folder_is_one_place(tmp_path):
    environment = os.environ | {"HOME": str(tmp_path)}
    words = [*SMALL, "--only", "CNN", "--results", "~/store"]
    done = stn_bench("run", QUICKSTART, *words, env=environment)
    store = tmp_path / "store"
    assert len(ResultStore(store).trials()) == 1
    assert f"report: {store}/reports/quickstart/report.html" in done.stdout


def test_a_gpu_that_is_not_there_is_refused(tmp_path):
    if local_device() == "cuda":
        pytest.skip("this machine has a GPU")
    words = [*SMALL, "--device", "cuda", "--results", tmp_path]
    done = stn_bench("run", QUICKSTART, *words, check=2)
    assert done.stderr == "--device cuda: there is no GPU; use --device cpu\n"


def test_a_cluster_that_nobody_serves_is_refused_soon(tmp_path):
    words = ["--address", "127.0.0.1:1", "--results", tmp_path]
    done = stn_bench("run", QUICKSTART, *words, check=5, timeout=60)
    assert done.stderr.startswith("cannot reach Ray at 127.0.0.1:1: ")


@pytest.mark.parametrize("body", ["raise KeyError('oops')", "raise SystemExit(3)"])
def test_code_of_the_user_that_breaks_is_one_message(body, tmp_path):
    (tmp_path / "mine.py").write_text(OWN.format(body=body))
    study = tmp_path / "own.yaml"
    study.write_text(
        "schema: 1\nname: own\nquestion: Does it break?\ntask: classify\n"
        "base: {dataset: digits, model: 'mine.py:Net', "
        "train: {steps: 1, batch_size: 4, lr: 1}}\nseeds: 1\n"
    )
    words = ["--in-process", "--results", tmp_path / "store"]
    done = stn_bench("run", study, *words, check=2)
    assert done.stderr.startswith("own: variant `base`: ")
    assert f"({tmp_path}/mine.py:7)" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_name_in_the_store_takes_no_overrides(tmp_path):
    done = stn_bench("report", "quickstart", "seeds=1", "--results", tmp_path, check=2)
    assert "need the study's file, not its name `quickstart`" in done.stderr


def test_a_damaged_study_in_the_store_is_one_message(tmp_path):
    ResultStore(tmp_path).write_study("quickstart", '{"name": "quick')
    done = stn_bench("report", "quickstart", "--results", tmp_path, check=2)
    assert done.stderr == f"store {tmp_path}: its study `quickstart` is damaged\n"


def test_a_damaged_checkpoint_is_none(tmp_path):
    store = ResultStore(tmp_path)
    store.write_checkpoint("0" * 16, b"weights")
    assert store.read_checkpoint("0" * 16) == b"weights"
    (file,) = (tmp_path / "checkpoints").iterdir()
    file.write_bytes(b"weighty")
    assert not store.has_checkpoint("0" * 16)
    with pytest.raises(BenchError, match="has no checkpoint of trial 0000000000000000"):
        store.read_checkpoint("0" * 16)


def test_corruption_is_named_by_who_only_reads(tmp_path):
    file = tmp_path / "attempts" / f"0.accuracy.1.{'0' * 64}.parquet"
    file.parent.mkdir()
    file.write_bytes(b"torn")
    done = stn_bench("status", QUICKSTART, "--results", tmp_path)
    assert done.stderr == (
        f"attempts/{file.name}: its content is not what was written; `run` sets it aside\n"
    )
