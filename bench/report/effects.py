"""Main effects and interactions of the factors of a design, on paired seeds."""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from ..statistics import Estimate, holm, mean_interval, t_test
from ..study import Variant
from .findings import Difference, Effect

Levels = tuple[str, ...]
Scores = Mapping[int, float]
Item = TypeVar("Item")


def effects(variants: Sequence[Variant], scores: Mapping[str, Scores]) -> tuple[Effect, ...]:
    """Effects of every factor where there are two or more; none where the design allows none.

    Factors are the axes of `vary` and `zip`, and what is done at each of their points. A level's
    reference is that of the baseline where all baselines share one, else the first.
    """
    factors, cells = _design(variants)
    if len(factors) < 2:
        return ()
    names = list(factors)
    references = [
        _reference(i, variants, cells, levels) for i, levels in enumerate(factors.values())
    ]
    measured = {key: scores[name] for key, name in cells.items()}
    found = []
    for count in (1, 2):
        made = []
        for chosen in itertools.combinations(range(len(names)), count):
            choices = [[v for v in factors[names[i]] if v != references[i]] for i in chosen]
            for levels in itertools.product(*choices):
                at = tuple(references[i] for i in chosen)
                estimate, size = _contrast(measured, chosen, levels, at)
                if size:
                    what = tuple(names[i] for i in chosen)
                    difference = estimate and Difference(estimate, t_test(estimate), None)
                    made.append(Effect(what, levels, at, size, difference))
        found += corrected(made, lambda e: e.difference, _with_difference)
    return tuple(found)


def corrected(
    items: Iterable[Item],
    get: Callable[[Item], Difference | None],
    put: Callable[[Item, Difference], Item],
) -> list[Item]:
    """The items with Holm's correction in their differences, over all that have a p value."""
    items = list(items)
    tested = [(i, d) for i, item in enumerate(items) if (d := get(item)) and d.p is not None]
    for (i, d), p in zip(tested, holm([d.p for _, d in tested if d.p is not None]), strict=True):
        items[i] = put(items[i], dataclasses.replace(d, p_holm=p))
    return items


def _with_difference(effect: Effect, difference: Difference) -> Effect:
    return dataclasses.replace(effect, difference=difference)


def _design(variants: Sequence[Variant]) -> tuple[dict[str, list[str]], dict[Levels, str]]:
    """The levels of each factor that has two or more, and the variant at each combination."""
    whole = [{**v.point, "variant": v.arm} for v in variants]
    keys = dict.fromkeys(key for levels in whole for key in levels)
    factors = {key: list(dict.fromkeys(at[key] for at in whole if key in at)) for key in keys}
    factors = {key: levels for key, levels in factors.items() if len(levels) > 1}
    cells = {
        tuple(at[key] for key in factors): v.name
        for v, at in zip(variants, whole, strict=True)
        if all(key in at for key in factors)
    }
    return factors, cells


def _reference(
    i: int, variants: Sequence[Variant], cells: Mapping[Levels, str], levels: list[str]
) -> str:
    baselines = {v.baseline for v in variants}
    shared = {key[i] for key, name in cells.items() if name in baselines}
    return shared.pop() if len(shared) == 1 else levels[0]


def _contrast(
    measured: Mapping[Levels, Scores], factors: tuple[int, ...], levels: Levels, references: Levels
) -> tuple[Estimate | None, int]:
    """Mean contrast over the settings of all other factors, and how many settings those are.

    Only settings at which every cell of the contrast belongs to the design are used, and of those
    only seeds that all cells have.
    """
    contrasts = [
        signed
        for key in measured
        if all(key[i] == level for i, level in zip(factors, levels, strict=True))
        and (signed := list(_signed(key, factors, references)))
        and all(cell in measured for cell, _ in signed)
    ]
    if not contrasts:
        return None, 0
    needed = [measured[cell] for signed in contrasts for cell, _ in signed]
    seeds = sorted(set.intersection(*(set(scores) for scores in needed)))
    values = [
        sum(sign * measured[cell][seed] for signed in contrasts for cell, sign in signed)
        / len(contrasts)
        for seed in seeds
    ]
    return (mean_interval(values) if values else None), len(contrasts)


def _signed(
    key: Levels, factors: tuple[int, ...], references: Levels
) -> Iterator[tuple[Levels, int]]:
    """The cells of a difference, or of a difference of differences, each with its sign."""
    for swapped in itertools.product((False, True), repeat=len(factors)):
        cell = list(key)
        for i, reference, swap in zip(factors, references, swapped, strict=True):
            cell[i] = reference if swap else cell[i]
        yield tuple(cell), (-1) ** sum(swapped)
