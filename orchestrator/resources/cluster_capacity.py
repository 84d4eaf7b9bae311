"""How many trials a cluster holds: arithmetic over its machines, those that are there and those it may yet start.

What can never run must fail at once: Ray waits for it for ever, and says so only in a log.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import SweepError
from orchestrator.spec import ResourcesConfig

_PLENTY = float(2**62)


@dataclass(frozen=True, kw_only=True)
class NodeKind:
    """Machines of one kind, and how many of them there are, or may be."""

    count: int
    resources: Mapping[str, float]
    """By Ray's names: ``CPU`` and ``GPU`` in pieces, ``memory`` in bytes."""

    def amount(self, name: str) -> float:
        """Return how much of a resource one such machine has. Memory that is not stated is not counted."""
        return self.resources.get(name, _PLENTY if name == "memory" else 0)

    def __str__(self) -> str:
        return f"{self.count} x ({_described(self.resources)})"


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """The machines of a cluster."""

    present: tuple[NodeKind, ...]
    """Machines that are there."""
    declared: tuple[NodeKind, ...] = ()
    """The head, and the machines that the autoscaler may start; empty: the cluster does not grow."""

    def __str__(self) -> str:
        have = ", ".join(_alike(self.present)) or "no machine"
        return have + (f", at its largest {', '.join(map(str, self.declared))}" if self.declared else "")

    def trials(self, resources: ResourcesConfig) -> int:
        """Return how many trials fit at once, now or when the cluster is at its largest."""
        return max(_workers(kinds, resources) for kinds in (self.present, self.declared)) // resources.workers_per_trial

    def at_once(self, resources: ResourcesConfig, *, asked: int | None) -> int:
        """Return how many trials to run at once: ``asked``, or as many as fit; never more than fit.

        Raises:
            SweepError: not even one fits, ever; with the arithmetic.
        """
        fits = self.trials(resources)
        if fits < 1:
            raise SweepError(self._refusal(resources))
        return min(fits, asked or fits)

    def _refusal(self, resources: ResourcesConfig) -> str:
        need = resources.worker_resources
        worker = _described(need)
        trial = (
            f"a trial takes {worker} on one machine"
            if resources.workers_per_trial == 1
            else f"a trial takes {resources.workers_per_trial} workers, each with {worker} on one machine"
        )
        most = max(_workers(self.present, resources), _workers(self.declared, resources))
        room = f", which is room for {most} such workers" if resources.workers_per_trial > 1 else ""
        return (
            f"resources: {trial}, and the cluster has {self}{room}; lower resources.cpus_per_trial, "
            f"gpus_per_trial or workers_per_trial, or use larger machines"
        )


def declared_kinds(config: Mapping[str, Any]) -> tuple[NodeKind, ...]:
    """Read from a cluster's configuration (``ray up``) what it may grow to; largest kinds first, where not all may run.

    A kind of node that does not say what it has (provider ``local``) is left out: it is known once it is there.
    """
    kinds = config.get("available_node_types", {})
    head = config.get("head_node_type")
    left = int(config.get("max_workers", 0))
    found = []
    for name in sorted(kinds, key=lambda name: _size(kinds[name]), reverse=True):
        count = 1 if name == head else min(left, int(kinds[name].get("max_workers", left)))
        left -= 0 if name == head else count
        if count and kinds[name].get("resources"):
            found.append(NodeKind(count=count, resources=kinds[name]["resources"]))
    return tuple(found)


def _size(kind: Mapping[str, Any]) -> tuple[float, float]:
    has = kind.get("resources", {})
    return has.get("GPU", 0), has.get("CPU", 0)


def _workers(kinds: Iterable[NodeKind], resources: ResourcesConfig) -> int:
    """Count the workers that fit; no worker is spread over two machines."""
    needs = {name: amount for name, amount in resources.worker_resources.items() if amount > 0}
    return sum(
        kind.count * min(int(kind.amount(name) / amount + 1e-9) for name, amount in needs.items()) for kind in kinds
    )


def _alike(kinds: Iterable[NodeKind]) -> list[str]:
    """Describe machines, equal ones together."""
    counts: Counter[str] = Counter()
    for kind in kinds:
        counts[_described(kind.resources)] += kind.count
    return [f"{count} x ({what})" for what, count in counts.items()]


def _described(resources: Mapping[str, float]) -> str:
    pieces = ", ".join(f"{resources.get(name, 0):g} {name}" for name in ("CPU", "GPU"))
    return pieces + (f", {resources['memory'] / 2**30:.1f} GiB" if "memory" in resources else "")
