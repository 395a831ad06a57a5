"""Failures that nothing but a real cluster or a real disk has, each as a scene of `failures.py`."""

from dataclasses import replace

import pytest
from failures import not_mounted, played
from scenes import SCENES, Case, Scene, kill_node

MEMORY_MONITOR, NODE, WEIGHTS = (
    [scene for scene in SCENES if scene.kind == kind][i]
    for kind, i in (("out_of_host_memory", 1), ("node_lost", 0), ("disk_full", 0))
)


def at_once(case: Case) -> None:
    kill_node(case, at_once=True)


@pytest.mark.ray
@pytest.mark.parametrize(
    "scene",
    [MEMORY_MONITOR, replace(NODE, disturb=(at_once,), steps=200, quicker=0.0), WEIGHTS],
    ids=lambda scene: scene.kind,
)
def test_a_failure_is_a_row_of_its_kind_and_its_study_ends_as_it_should(scene: Scene):
    if scene.disk and (why := not_mounted()):
        pytest.skip(why)
    line, fault = played(scene)
    assert f"| `{scene.kind}` |" in line
    assert not fault
