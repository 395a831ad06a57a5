"""The one training loop: data on the device, one step a function that timing uses too."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .data_parallel import ALONE, Ranks
from .datasets.dataset import Resident
from .execution import Forward, forward_of
from .optimizer import Optimizer, optimizer
from .results import CurvePoint, Metric
from .resume import Halfway, part, prefixed, random_state, restore_random_state

CURVE_POINTS = 20
EVALUATIONS = 5
EVALUATION_BATCH = 1000
# A loss that is not finite is seen this many steps late at most.
CHECK_EVERY = 100
# A model that gives every image one class has collapsed after as many steps; before it is young.
COLLAPSE_STEPS = 500

Batch = tuple[Tensor, Tensor]
Observe = Callable[[int, nn.Module], None]


class Diverged(Exception):
    """Training came to where it cannot come back from: no finite loss, or one class for all."""


class Objective(NamedTuple):
    """What a model is trained for.

    Attributes:
        loss: Of what the model gives and the targets, to be made small.
        answers: What the model says of each image, `(batch, …)`, from what it gives.
        wrong: Which answers are wrong, `(batch,)`, from answers and targets.
    """

    loss: Callable[[Any, Tensor], Tensor]
    answers: Callable[[Any], Tensor]
    wrong: Callable[[Tensor, Tensor], Tensor]


def cross_entropy(scores: Tensor, targets: Tensor) -> Tensor:
    """Mean over images of the sum over an image's labels.

    Scores are `(batch, classes)` with targets `(batch,)`, or `(batch, labels, classes)` with
    targets `(batch, labels)`.
    """
    labels = 1 if targets.ndim == 1 else targets.shape[1]
    return labels * F.cross_entropy(scores.float().flatten(0, -2), targets.flatten())


def any_wrong(answers: Tensor, targets: Tensor) -> Tensor:
    """Whether any of an image's labels is wrong."""
    return (answers != targets).reshape(len(targets), -1).any(1)


CLASSIFICATION = Objective(cross_entropy, lambda scores: scores.argmax(-1), any_wrong)


def learning_rate(train: Mapping[str, Any], step: int) -> float:
    """Learning rate of a step: a linear warm-up, then the schedule; `step` counts from 0."""
    if step < train["warmup_steps"]:
        return train["lr"] * (step + 1) / train["warmup_steps"]
    if train["schedule"] == "cosine":
        course = (step - train["warmup_steps"]) / (train["steps"] - train["warmup_steps"])
        return train["lr"] * 0.5 * (1 + math.cos(math.pi * course))
    if train["schedule"] == "step":
        return train["lr"] * train["step_factor"] ** (step // train["step_every"])
    return train["lr"]


@dataclass(frozen=True)
class TrainingStep:
    """One step, `step(images, targets, lr)`: forward, backward, update; gives the loss.

    Of the batch each of `ranks` computes its share; loss and gradients are those of all of it.
    """

    forward: Forward
    optimizer: Optimizer
    scaler: torch.amp.GradScaler
    loss: Callable[[Any, Tensor], Tensor]
    ranks: Ranks = ALONE

    def __call__(self, images: Tensor, targets: Tensor, lr: float) -> Tensor:
        self.optimizer.zero_grad()
        loss = self.loss(self.forward(self.ranks.share(images)), self.ranks.share(targets))
        self.scaler.scale(loss).backward()
        if self.ranks.count > 1:
            self.ranks.average([loss.detach(), *self.optimizer.gradients])
        if not self.scaler.is_enabled():
            self.optimizer.step(lr)
            return loss.detach()
        # The scaler asks an optimizer only for its `param_groups` and its `step`.
        chosen: Any = self.optimizer
        self.scaler.unscale_(chosen)
        self.scaler.step(chosen, lr)
        self.scaler.update()
        return loss.detach()


def training_step(
    model: nn.Module,
    settings: Mapping[str, Any],
    objective: Objective = CLASSIFICATION,
    ranks: Ranks = ALONE,
) -> TrainingStep:
    """A step of training a model as `settings`, the `train` of a study, say."""
    forward = forward_of(model, settings)
    device = next(model.parameters()).device
    scaler = torch.amp.GradScaler(device.type, enabled=settings["precision"] == "float16")
    return TrainingStep(forward, optimizer(model, settings), scaler, objective.loss, ranks)


def train(
    model: nn.Module,
    data: Resident,
    settings: Mapping[str, Any],
    observe: Observe | None = None,
    *,
    objective: Objective = CLASSIFICATION,
    halfway: Halfway | None = None,
    ranks: Ranks = ALONE,
) -> list[CurvePoint]:
    """Train a model in place; gives its learning curves.

    `train_loss` is the mean since the point before. `validation_error` and `test_error` are there
    to look at, and decide nothing: the model that is kept is that of the last step.

    Args:
        model: On its device.
        data: On the same device.
        settings: The `train` of a study.
        observe: Is called with the step and the model, in evaluation mode, at each evaluation; it
            must leave torch's generator alone.
        objective: What it is trained for.
        halfway: Where its state is kept every so often, and found when it was cut short.
        ranks: The processes that train it together; all must be given the same.

    Raises:
        Diverged: The loss is not finite, or the model has come to give every image one answer.
    """
    steps, size = settings["steps"], settings["batch_size"]
    step = training_step(model, settings, objective, ranks)
    evaluated = forward_of(model, {**settings, "execution": "eager"})
    curve_every, evaluate_every = -(-steps // CURVE_POINTS), -(-steps // EVALUATIONS)
    losses = torch.zeros(curve_every, device=data.device)
    curves, start, one_answer_since = [], 0, 0
    if halfway is not None and (found := halfway.found()) is not None:
        start, curves, one_answer_since = _restore(*found, model, data, step, losses)
    model.train()
    for i in range(start, steps):
        losses[i % curve_every] = step(*data.batch(size), learning_rate(settings, i))
        done = i + 1
        point = done % curve_every == 0 or done == steps
        if point or done % CHECK_EVERY == 0:
            first = i - i % curve_every
            mean = _mean_loss(losses[: done - first], first)
            if point:
                curves.append(CurvePoint("train_loss", done, mean))
        if done % evaluate_every == 0 or done == steps:
            model.eval()
            batch = min(EVALUATION_BATCH, 4 * size)
            validation = evaluate(evaluated, data.validation(batch), objective)
            test = evaluate(evaluated, data.test(batch), objective)
            curves.append(CurvePoint("validation_error", done, validation.error))
            curves.append(CurvePoint("test_error", done, test.error))
            one_answer_since = (one_answer_since or done) if validation.one_answer else 0
            if one_answer_since and done >= COLLAPSE_STEPS:
                _check_collapse(curves, one_answer_since, last=done == steps)
            if observe is not None:
                observe(done, model)
            model.train()
        if halfway is not None and halfway.due and done < steps:
            _keep(halfway, model, data, step, losses, (done, curves, one_answer_since))
    return curves


def metrics(model: nn.Module, curves: list[CurvePoint]) -> tuple[Metric, ...]:
    """The numbers of a trained model; only `best_validation_error` is not of the last step."""

    def last(name: str) -> float:
        return next(c.value for c in reversed(curves) if c.name == name)

    best = min(c.value for c in curves if c.name == "validation_error")
    return (
        Metric("test_error", last("test_error"), "percent", False),
        Metric("validation_error", last("validation_error"), "percent", False),
        Metric("best_validation_error", best, "percent", False),
        Metric("train_loss", last("train_loss"), "nats", False),
        Metric("parameters", sum(p.numel() for p in model.parameters()), "count", False),
    )


class Evaluation(NamedTuple):
    """Share of wrong images in percent, and whether all images got the same answer."""

    error: float
    one_answer: bool


@torch.no_grad()
def evaluate(
    forward: Forward, batches: Iterable[Batch], objective: Objective = CLASSIFICATION
) -> Evaluation:
    """Count a model's errors; the model must be in evaluation mode.

    Raises:
        Diverged: The model gives scores that are not finite.
    """
    wrong, count, finite = 0, 0, True
    first: Tensor | None = None
    one_answer = True
    for images, targets in batches:
        output = forward(images)
        finite = finite and all(bool(t.isfinite().all()) for t in _tensors(output))
        answers = objective.answers(output)
        first = answers[:1] if first is None else first
        one_answer = one_answer and bool((answers == first).all())
        wrong += int(objective.wrong(answers, targets).sum())
        count += len(targets)
    if not finite:
        raise Diverged("the scores of the images to evaluate are not finite")
    return Evaluation(100 * wrong / count, one_answer)


def _tensors(output: Any) -> list[Tensor]:
    return [output] if isinstance(output, Tensor) else list(output)


def _mean_loss(losses: Tensor, first: int) -> float:
    """Mean of the losses of steps `first`, `first + 1`, …, which count from 0."""
    mean = float(losses.mean())
    if not math.isfinite(mean):
        bad = int((~losses.isfinite()).int().argmax())
        raise Diverged(f"the loss was {float(losses[bad])} at step {first + bad + 1}")
    return mean


def _check_collapse(curves: list[CurvePoint], since: int, last: bool) -> None:
    """A model that gives all one answer at the end, or after it erred half as often, is lost."""
    errors = [c.value for c in curves if c.name == "validation_error"]
    if last or min(errors) <= errors[-1] / 2:
        raise Diverged(f"collapsed: from step {since} on every validation image gets one answer")


def _keep(
    halfway: Halfway,
    model: nn.Module,
    data: Resident,
    step: TrainingStep,
    losses: Tensor,
    progress: tuple[int, list[CurvePoint], int],
) -> None:
    done, curves, since = progress
    state = {
        **prefixed("model", model.state_dict()),
        **prefixed("optimizer", step.optimizer.state()),
        **prefixed("random", random_state(losses.device)),
        "data": data.state(),
        "losses": losses,
    }
    points = [(c.name, c.step, c.value) for c in curves]
    scaler = step.scaler.state_dict()
    halfway.keep(state, {"done": done, "curves": points, "since": since, "scaler": scaler})


def _restore(
    state: Mapping[str, Tensor],
    meta: Mapping[str, Any],
    model: nn.Module,
    data: Resident,
    step: TrainingStep,
    losses: Tensor,
) -> tuple[int, list[CurvePoint], int]:
    model.load_state_dict(part("model", state))
    for name, tensor in step.optimizer.state().items():
        tensor.copy_(part("optimizer", state)[name])
    if step.scaler.is_enabled():
        step.scaler.load_state_dict(meta["scaler"])
    losses.copy_(state["losses"])
    data.restore(state["data"])
    restore_random_state(part("random", state), losses.device)
    return meta["done"], [CurvePoint(*point) for point in meta["curves"]], meta["since"]
