"""What a cluster can give, told before the start."""

import os
import subprocess
import sys
import threading
import time

import pytest

from bench.errors import BenchError
from bench.runner import nodes
from bench.study.schema import Accuracy, Timing


def node(cpus=4.0, gpus=0.0, **labels):
    resources = {"CPU": cpus} | ({"GPU": gpus} if gpus else {})
    named = {key.replace("_", "-"): value for key, value in labels.items()}
    return {"Alive": True, "Resources": resources, "Labels": {"ray.io/node-id": "x", **named}}


@pytest.mark.parametrize(
    ("phase", "device", "there", "room"),
    [
        (Accuracy(), "cpu", [node(4)], 4),
        (Accuracy(cpus=3), "cpu", [node(4), node(2), node(7)], 3),
        (Accuracy(), "cuda", [node(4, 2), node(8)], 2),
        (Accuracy(gpus=0.25), "cuda", [node(16, 2)], 8),
        (Accuracy(gpus=0.25, cpus=4), "cuda", [node(16, 2)], 4),
        (Accuracy(gpus=0.6), "cuda", [node(16, 2)], 2),
        (Accuracy(gpus=0.1), "cuda", [node(16, 1)], 10),
        (Accuracy(workers=3), "cpu", [node(4), node(4)], 2),
        (Accuracy(workers=2, cpus=3), "cuda", [node(4, 2), node(16, 4), node(16)], 2),
        (Accuracy(label={"gpu-class": "h200"}), "cpu", [node(), node(gpu_class="h200")], 4),
        (Accuracy(label={"gpu-class": "h200"}), "cpu", [node(gpu_class="a10")], 0),
    ],
)
def test_how_many_attempts_there_is_room_for(phase, device, there, room):
    assert nodes.slots(phase, device, there) == room


def test_what_no_node_has_is_refused_and_named():
    there = [node(4, 1), node(8)]
    nodes.refuse_impossible("timing", Timing(cpus=4), "cuda", there)
    with pytest.raises(BenchError) as caught:
        nodes.refuse_impossible("timing", Timing(cpus=8), "cuda", there)
    assert str(caught.value) == (
        "resources.timing asks for 8 CPUs and 1 GPUs at once; the largest node has 8 and 1"
    )


def test_more_workers_than_the_nodes_have_room_for_are_refused():
    nodes.refuse_impossible("accuracy", Accuracy(workers=8), "cpu", [node(4), node(4)])
    with pytest.raises(BenchError) as caught:
        nodes.refuse_impossible("accuracy", Accuracy(workers=9), "cpu", [node(4), node(4)])
    assert str(caught.value) == (
        "resources.accuracy.workers asks for 9 at once; the nodes have room for 8"
    )


def test_a_label_that_no_node_bears_is_refused_and_those_that_there_are_told():
    wanted = Timing(label={"gpu-class": "h200"})
    with pytest.raises(BenchError) as caught:
        nodes.refuse_impossible("timing", wanted, "cpu", [node(gpu_class="a10"), node(zone="b")])
    assert str(caught.value) == (
        "resources.timing.label asks for a node with gpu-class: h200; "
        "the nodes have gpu-class: a10; zone: b"
    )
    with pytest.raises(BenchError, match="the nodes have no labels$"):
        nodes.refuse_impossible("timing", wanted, "cpu", [node()])


def test_a_run_says_once_that_no_node_is_left_that_can(monkeypatch):
    from bench.runner import on_ray

    there, waiting = [node(gpu_class="h200"), node()], on_ray._Waiting()
    monkeypatch.setattr(on_ray.ray, "nodes", lambda: there)

    def said():
        phase = Timing(label={"gpu-class": "h200"})
        return [event.text for event in waiting.look("timing", phase, "cpu")]

    assert said() == []
    lost = there.pop(0)
    assert said() == [
        "waiting for a node: resources.timing.label asks for a node with gpu-class: h200; "
        "the nodes have no labels"
    ]
    assert said() == []
    there.append(lost)
    assert said() == []
    there.remove(lost)
    assert len(said()) == 1


def test_dead_nodes_do_not_count():
    assert nodes.alive([{**node(), "Alive": False}]) == []


def test_a_timing_waits_until_the_workers_have_ended():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(0.5)"])
    started = time.monotonic()
    places = [nodes.Place("elsewhere", 1, ()), nodes.Place(os.uname().nodename, child.pid, ())]
    # Ray reaps its own; here this test does.
    threading.Thread(target=child.wait).start()
    nodes.wait_for_end(places)
    assert 0.2 < time.monotonic() - started < 20


def test_a_place_in_words():
    assert str(nodes.Place("host", 7, ())) == "host, process 7"
    assert str(nodes.Place("host", 7, ("0", "1"))) == "host, GPU 0, 1"


@pytest.mark.parametrize(
    ("reason", "node"),
    [
        ("The actor died because its node has died. Node Id: 7 the actor's node was terminated "
         "unexpectedly: health check failed due to missing too many heartbeats", True),
        ("The node died.", True),
        ("The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR",
         False),
    ],
)  # fmt: skip
def test_whether_a_worker_is_gone_with_its_node(reason, node):
    """What Ray says of a host that was cut off, and of a process that was killed."""
    assert nodes.node_died(reason) is node
