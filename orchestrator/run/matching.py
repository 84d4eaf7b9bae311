"""Matching the forget sets of a new sweep before its first trial: base models are trained until they are as exposed."""

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from orchestrator.errors import SweepError
from orchestrator.ledger import Ledger
from orchestrator.preparation import BASE, Baseline
from orchestrator.run.events import Events
from orchestrator.run.executors.protocol import Executor, Models
from orchestrator.run.repetition_search import RepetitionSearch, described, groups, listed
from orchestrator.run.starting import Ready, read_again, settled
from orchestrator.spec import SweepSpec, with_repetitions
from orchestrator.storage import Storage


def match_forget_sets(ready: Ready, *, executor: Executor, root: Storage, ledger: Ledger, events: Events) -> Ready:
    """Choose the repetitions that ``data.match`` asks for, and write them into the sweep's spec.

    Where it is interrupted, the next session finds the models that were trained, and takes the same way.

    Args:
        ready: the sweep.
        executor: within its session.
        root: the storage that keeps models, for all of its sweeps.
        ledger: of the sweep.
        events: told of what goes on.

    Raises:
        SweepError: what is matched has no value.
    """
    spec = ready.checked.spec
    match = spec.data.match
    if match is None or match.settled:
        return ready
    executor.require_shared(root)
    executor.trials_at_once(spec.resources, asked=None)  # raises where not even one fits
    given = {name: own.repetitions for name, own in spec.data.forget_sets.items()}
    there = ready.checked.replicates[0].sizes.forget_sets
    sizes = {name: there[name].forget for name in spec.data.matched}
    search = RepetitionSearch(
        {name: given[name][0] for name in sizes},
        to=match.to,
        tolerance=match.tolerance,
        rounds=match.rounds,
    )
    while (quarters := search.propose()) is not None:
        tried = given | {name: groups(quarters[name], size) for name, size in sizes.items()}
        events.doing(f"matching the forget sets by {match.by}, with repetitions {listed(tried)}")
        measured = _measured(with_repetitions(spec, tried), executor, root, ledger, events)
        search.add({name: fmean(_level(own, name, match.by) for own in measured) for name in sizes})
    best = given | {name: groups(search.best.quarters[name], size) for name, size in sizes.items()}
    events.matched(described(search.best, best, by=match.by, tolerance=match.tolerance))
    checked = read_again(executor, with_repetitions(spec, best, settled=True))
    return replace(settled(checked, ledger), changes=ready.changes)


def _measured(
    spec: SweepSpec, executor: Executor, root: Storage, ledger: Ledger, events: Events
) -> list[Sequence[Baseline]]:
    """Train the models of a spec, and return the measurements of those of each replicate."""
    checked = read_again(executor, spec)
    models = Models(replicates=checked.replicates, root=root, ledger=ledger, flops=checked.training_flops)
    events.preparing([task.name for inputs in checked.replicates for task in inputs.tasks])
    executor.train_models(models, events)
    events.doing("measuring what the models know")
    return [measured.baselines for _, measured in executor.build_workloads(models)]


def _level(baselines: Sequence[Baseline], forget_set: str, by: str) -> float:
    """Return the base model's mean of a column over a forget set.

    Raises:
        SweepError: it is not a number.
    """
    base = next(own for own in baselines if own.model == BASE and own.forget_set == forget_set)
    level = base.metrics[by]
    if level is None or not math.isfinite(level):
        raise SweepError(
            f"data.match: {by} of the base model on '{forget_set}' is {level}, and nothing can be matched by it; look "
            f"at how the models were trained (preparation), or leave 'match' out"
        )
    return float(level)
