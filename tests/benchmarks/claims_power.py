"""How often ``unlearn-sweep claims`` is right: known effects in, verdicts out. No model, no ledger.

Tables with the columns of a ledger are invented for replicates that are drawn with a known effect and spread, censored
and collapsed trials among them, and judged by the real code. Printed are, by number of replicates, the share of runs
in which each finding got the right verdict and the wrong one, and the share of tables with a verdict where nothing is
true.

    python -m tests.benchmarks.claims_power --runs 200
"""

import argparse
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich.console import Console

from orchestrator.claims.computing import claims_of_tables
from orchestrator.claims.deciding import Verdict
from tests.orchestrator.claims.inventing import World, invented, null

SUPPORTED, CONTRADICTED = Verdict.SUPPORTED, Verdict.CONTRADICTED
WORLDS = {
    "clear": World(),
    "reversed": World(steps=-0.6, price=-0.15),
    "small": World(steps=0.3, price=0.075, decay=0.15, memorization=0.25, difficulty=-0.15),
    "short axis": replace(World(), by_setting=(1.6, 0.5, 1.6, 0.5)),
    "nothing": null(World()),
    "nothing, skewed": replace(null(World()), skewed=True),
}
"""What is true. In ``short axis``, out is slower still, and a third of its trials are censored."""
RIGHT = {
    "clear": dict.fromkeys(("steps", "price_heldout", "decay", "memorization", "difficulty"), SUPPORTED),
    "reversed": dict.fromkeys(("steps", "price_heldout"), CONTRADICTED),
    "small": dict.fromkeys(("steps", "price_heldout", "decay", "memorization", "difficulty"), SUPPORTED),
    "short axis": {"steps": SUPPORTED, "price_heldout": SUPPORTED},
}
"""The right verdicts on some findings; where nothing is true, any verdict is wrong."""


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Shares of the runs."""

    right: dict[str, float]
    wrong: dict[str, float]
    tables_with_a_verdict: float
    conditions_with_a_verdict: float
    censored: float
    """Share of out's trials that are not as never trained within the axis."""


def rates(world: str, replicates: int, runs: int, *, first_seed: int = 0) -> Rates:
    """Judge many runs of a world."""
    right, wrong = Counter[str](), Counter[str]()
    tables = conditions = missing = trials = 0
    for seed in range(first_seed, first_seed + runs):
        found = claims_of_tables([invented(WORLDS[world], replicates, seed)], describe=False)
        for own in found.decisions:
            expected = RIGHT.get(world, {}).get(own.finding.name)
            if expected is not None and own.verdict is expected:
                right[own.finding.name] += 1
            elif expected is not None and own.verdict is not Verdict.NOT_DECIDED:
                wrong[own.finding.name] += 1
            if own.finding.name == "steps":
                missing += own.effect.unreached["out"][0]
                trials += own.effect.unreached["out"][1]
        tables += any(own.verdict is not Verdict.NOT_DECIDED for own in found.decisions)
        conditions += any(own.verdict is not Verdict.NOT_DECIDED for own in found.conditions)
    return Rates(
        right={name: right[name] / runs for name in RIGHT.get(world, {})},
        wrong={name: wrong[name] / runs for name in RIGHT.get(world, {})},
        tables_with_a_verdict=tables / runs,
        conditions_with_a_verdict=conditions / runs,
        censored=missing / trials,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the shares of every world."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--replicates", type=int, nargs="+", default=[3, 5, 8])
    parser.add_argument("--world", choices=WORLDS, nargs="+", default=list(WORLDS))
    given = parser.parse_args(arguments)
    console, start = Console(highlight=False), time.perf_counter()
    for world in given.world:
        for count in given.replicates:
            own = rates(world, count, given.runs)
            console.print(
                f"{world}, {count} replicates, {given.runs} runs, {own.censored:.0%} of out's trials censored:"
            )
            for name, share in own.right.items():
                console.print(f"  {name:<16} right {share:5.1%}  wrong {own.wrong[name]:5.1%}")
            if world not in RIGHT:
                console.print(f"  tables with a verdict {own.tables_with_a_verdict:.1%}", end="; ")
                console.print(f"tables of conditions {own.conditions_with_a_verdict:.1%}")
    console.print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
