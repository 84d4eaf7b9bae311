"""The base models' performance on each forget set, which bounds of a search may be measured from."""

from collections.abc import Sequence
from statistics import fmean

from orchestrator.errors import SweepError
from orchestrator.ledger import BASELINES_FILE, Ledger


class BasePerformances:
    """Reads the baselines of a ledger when a bound first asks for them."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._known: dict[tuple[str, int], float] = {}
        """By forget set and replicate, once asked for."""

    def __call__(self, forget_set: str, replicates: Sequence[int]) -> float:
        """Return the mean performance of the base models of some replicates on a forget set, in nats per token.

        Raises:
            SweepError: the ledger has none.
        """
        return fmean(self._of(forget_set, replicate) for replicate in replicates)

    def _of(self, forget_set: str, replicate: int) -> float:
        if (forget_set, replicate) not in self._known:
            base = self._ledger.baselines().base(forget_set, replicate)
            if base is None:
                raise SweepError(
                    f"{self._ledger.storage.uri}/{BASELINES_FILE}: has no row of the base model on '{forget_set}'"
                    f"{f' in replicate {replicate}' if replicate else ''}, "
                    f"which search.constraints.performance_increase_at_most is measured from; put the file back, or "
                    f"bound performance_at_most instead (--force)"
                )
            self._known[forget_set, replicate] = base["performance"]
        return self._known[forget_set, replicate]
