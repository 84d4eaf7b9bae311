"""Checks of a spec's search, before anything runs."""

from orchestrator.spec.search_config import BudgetConfig, SearchConfig
from search_spaces import Choice, Space, all_dimensions
from trainables.config import HalvingConfig
from trainables.optim import Horizon


def check_search(search: SearchConfig, space: Space, *, points: int | None, horizon: Horizon) -> None:
    """Check sampler, number of trials, objective and constraints against each other.

    Args:
        search: of the spec.
        space: the search space, parsed.
        points: how many trials a sampler that lists the space has; None for other samplers.
        horizon: of the schedules that may come up.

    Raises:
        ValueError: with the setting's path, and what to do.
    """
    if points is not None:
        _check_listing(search, points)
    elif search.trials is None and not search.budget:
        raise ValueError(
            f"search.trials: sampler '{search.sampler}' needs a number of trials for each stratum, or a search.budget"
        )
    if search.minimize == "performance" and search.constraints.exposure_at_most is None:
        raise ValueError(
            "search.minimize: performance alone is best where nothing is unlearned; bound the other objective: "
            "search.constraints.exposure_at_most (bits)"
        )
    if search.sampler == "nsga3" and search.minimize != "both":
        raise ValueError(
            f"search.minimize: nsga3 spreads over a frontier and takes both; found '{search.minimize}'; take nsga2, "
            f"tpe, gp or cmaes for one objective"
        )
    if search.sampler == "cmaes":
        _check_cmaes(search, space, horizon)


def _check_listing(search: SearchConfig, points: int) -> None:
    name = "a grid" if search.sampler == "grid" else search.sampler
    if search.extent == "sampled":
        raise ValueError(f"search.extent: {name} walks the whole step axis; leave 'sampled' to the other samplers")
    if search.trials is None:
        return
    if search.sampler == "grid" and search.trials != points:
        raise ValueError(
            f"search.trials: the grid has {points} points, found {search.trials}; leave trials out to run the whole "
            f"grid, or take brute_force, which may be cut short"
        )
    if search.trials > points:
        raise ValueError(
            f"search.trials: the space has {points} points, found {search.trials}; leave trials out to run them all"
        )


def _check_cmaes(search: SearchConfig, space: Space, horizon: Horizon) -> None:
    if search.minimize == "both":
        raise ValueError(
            "search.minimize: cmaes takes one objective: unlearning_quality, or performance with "
            "search.constraints.exposure_at_most; tpe, nsga2, nsga3 and gp take both"
        )
    if search.extent == "sampled":
        raise ValueError("search.extent: cmaes learns from whole trajectories; leave 'sampled' to the other samplers")
    dimensions = dict(all_dimensions(space))
    choices = [path for path, dimension in dimensions.items() if isinstance(dimension, Choice)]
    if choices:
        raise ValueError(
            f"search.space: cmaes takes ranges alone; found the choice '{choices[0]}'; give it one value, and each "
            f"value a sweep of its own, or take tpe or gp"
        )
    if not dimensions and horizon is Horizon.FREE:
        raise ValueError("search.space: cmaes needs a range to search; found none")


def check_budget(budget: BudgetConfig, *, strata: int, last_step: int, gpus_per_trial: float) -> None:
    """Check that trials use what a budget limits, and that each stratum can run one.

    Raises:
        ValueError: with the setting's path, and what to do.
    """
    if budget.max_steps_total is not None and budget.max_steps_total < strata * last_step:
        raise ValueError(
            f"search.budget.max_steps_total: {strata} strata have equal shares, and one trial of each takes "
            f"{last_step} steps; give at least {strata * last_step}, found {budget.max_steps_total}"
        )
    if budget.max_gpu_hours is not None and gpus_per_trial == 0:
        raise ValueError(
            "search.budget.max_gpu_hours: trials take no GPU (resources.gpus_per_trial: 0), so it would never be "
            "spent; take max_steps_total or max_wall"
        )


def check_halving(halving: HalvingConfig, *, steps: tuple[int, ...], horizon: Horizon) -> None:
    """Check that trials are evaluated at the rungs, and can still end early there.

    Raises:
        ValueError: with the setting's path, and what to do.
    """
    wrong = [rung for rung in halving.rungs if rung not in steps[:-1]]
    if wrong:
        raise ValueError(
            f"stop.halving.rungs: {wrong} are not on the step axis before its end; steps are {list(steps)}"
        )
    if horizon is not Horizon.FREE:
        raise ValueError(
            "stop.halving: a schedule that depends on the total makes each step value a trial of its own, with nothing "
            "to end early; leave halving out"
        )
