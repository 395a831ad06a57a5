"""One training on several workers, through Ray Train, which starts and ends them together."""

import contextlib
import os
import tempfile
import threading
import time
from typing import Any

import ray
from ray import PlacementGroupID
from ray.exceptions import ActorUnavailableError, OutOfMemoryError, RayError
from ray.util.placement_group import PlacementGroup, remove_placement_group

from ..jobs import Job, Launch
from ..results.schema import FailureKind
from . import nodes
from .runner import WORDS
from .several import Reply, in_turn

# Ray Train tries again by itself only to start workers; so often, for a minute each time.
STARTS = 20
FREE_SECONDS = 1.0
SETTINGS = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # how late the end of a training is seen
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",  # what is printed is kept in the attempt's log
}


@ray.remote(num_cpus=0, max_restarts=0, max_task_retries=0)
class Conductor:
    """Leads a training at a time: it keeps the mark and writes the row, its workers compute.

    What it has started ends with it.
    """

    def __init__(self, launch: Launch) -> None:
        os.environ.update(SETTINGS)
        from .. import trial

        self._trial, self._launch = trial, launch

    def place(self) -> nodes.Place:
        return nodes.this_place(())

    def run(self, jobs: tuple[Job, ...]) -> Reply:
        return in_turn(jobs, lambda job: self._trial.run_attempt(job, self._launch, self._train))

    def _train(self, job: Job, launch: Launch) -> Any:
        from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
        from ray.train.torch import TorchConfig, TorchTrainer

        phase = launch.resources.accuracy
        cpus, gpus = nodes.share(phase, job.trial.device)
        # Ray leaves a worker that asked for no GPU all of them to see.
        hidden = {} if gpus else {"env_vars": {"CUDA_VISIBLE_DEVICES": ""}}
        with tempfile.TemporaryDirectory() as folder:
            trainer = TorchTrainer(
                _train_share,
                train_loop_config={"job": job, "launch": launch},
                torch_config=TorchConfig(backend="nccl" if gpus else "gloo"),
                scaling_config=ScalingConfig(
                    num_workers=phase.workers,
                    use_gpu=gpus > 0,
                    resources_per_worker={"CPU": cpus} | ({"GPU": gpus} if gpus else {}),
                    label_selector=phase.label or None,
                ),
                run_config=RunConfig(
                    name=job.key,
                    storage_path=folder,
                    worker_runtime_env=hidden,
                    failure_config=FailureConfig(
                        max_failures=0, max_preemption_failures=0, controller_failure_limit=STARTS
                    ),
                ),
            )
            _leave_out_cleaner(trainer)
            try:
                return trainer.fit().return_value
            except TrainingFailedError as error:
                raise first_failure(error) from None


def _leave_out_cleaner(trainer: Any) -> None:
    """Leave out what Ray Train starts to free resources after the death of its controller.

    `Freer` does it here. The cleaner asks the dashboard, and where there is none, as on a local
    Ray, every training waits 12 s for it, and one that is killed leaves it behind.
    """
    made = trainer._create_default_callbacks
    trainer._create_default_callbacks = lambda: [
        callback
        for callback in made()
        if type(callback).__name__ != "PlacementGroupCleanerCallback"
    ]


@ray.remote(num_cpus=0, max_restarts=-1)
class Freer:
    """Frees what a training of its run held that was killed; Ray would keep it until the run ends.

    Without it the next training, or a timing, waits for ever for these CPUs and GPUs.
    """

    def __init__(self) -> None:
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        job = ray.get_runtime_context().get_job_id()
        while True:
            with contextlib.suppress(RayError, OSError, RuntimeError):  # a head slow to answer
                free_what_is_left(job)
            time.sleep(FREE_SECONDS)


def free_what_is_left(job: str) -> None:
    """Remove the placement groups of a run's trainings whose controllers are dead."""
    # Ray's own, and not for others: imported where it is needed, so that no other run needs it.
    from ray._private.state import state
    from ray.core.generated import gcs_pb2

    table: Any = gcs_pb2
    data = table.PlacementGroupTableData
    for told in state._connect_and_get_accessor().get_placement_group_table():
        group = data.FromString(told)
        held = group.state != data.REMOVED
        if held and group.creator_actor_dead and group.creator_job_id.hex() == job:
            remove_placement_group(PlacementGroup(PlacementGroupID(group.placement_group_id)))


def _train_share(config: dict[str, Any]) -> Any:
    """What each worker does."""
    from ray.train import get_context

    from .. import trial
    from ..data_parallel import Ranks
    from .logs import kept

    context = get_context()
    ranks = Ranks(context.get_world_rank(), context.get_world_size())
    with kept(config["job"], config["launch"], ranks.rank):
        return trial.make_together(config["job"], config["launch"], ranks)


def first_failure(error: Exception) -> Exception:
    """Of what went wrong in the workers of a training, that which the rest came of."""
    from ..trial import Failed

    failures: dict[int, Exception] = getattr(error, "worker_failures", {})
    ordered = [failures[rank] for rank in sorted(failures)] or [error]
    told = [failure for failure in ordered if isinstance(failure, Failed)]
    for failure in ordered:
        if failure not in told:
            reason: Exception = getattr(failure, "health_check_failure", failure)
            kind, words = lost_kind(reason), " ".join(str(reason).split())
            return Failed(f"{WORDS[kind]}: {words}"[:500], kind, None)
    return next((failure for failure in told if failure.kind != "lost"), told[0])


def lost_kind(error: Exception) -> FailureKind:
    """What became of a process that does not answer any more."""
    if isinstance(error, OutOfMemoryError):
        return "out_of_host_memory"
    node = isinstance(error, ActorUnavailableError) or nodes.node_died(str(error))
    return "node_lost" if node else "lost"
