"""The base model's performance on each forget set, which bounds of a search may be measured from."""

from orchestrator.errors import SweepError
from orchestrator.ledger import BASELINES_FILE, Ledger


class BasePerformances:
    """Reads the baselines of a ledger when a bound first asks for them."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._known: dict[str, float] = {}
        """By forget set, once asked for."""

    def __call__(self, forget_set: str) -> float:
        """Return the base model's performance on a forget set, in nats per token.

        Raises:
            SweepError: the ledger has none.
        """
        if forget_set not in self._known:
            base = self._ledger.baselines().base(forget_set)
            if base is None:
                raise SweepError(
                    f"{self._ledger.storage.uri}/{BASELINES_FILE}: has no row of the base model on '{forget_set}', "
                    f"which search.constraints.performance_increase_at_most is measured from; put the file back, or "
                    f"bound performance_at_most instead (--force)"
                )
            self._known[forget_set] = base["performance"]
        return self._known[forget_set]
