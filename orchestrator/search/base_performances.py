"""The base model's performance on each forget set, which bounds of a search may be measured from."""

from orchestrator.errors import SweepError
from orchestrator.ledger import BASELINES_FILE, Ledger


class BasePerformances:
    """Reads the baselines of a ledger when a bound first asks for them."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._known: dict[str, float] = {}
        """By forget set; empty: not read yet."""

    def __call__(self, forget_set: str) -> float:
        """Return the base model's performance on a forget set, in nats per token.

        Raises:
            SweepError: the ledger has none.
        """
        if not self._known:
            rows = [row for row in self._ledger.baselines() if row["model"] == "base"]
            self._known = {row["forget_set"]: row["performance"] for row in rows}
        if forget_set not in self._known:
            raise SweepError(
                f"{self._ledger.storage.uri}/{BASELINES_FILE}: has no row of the base model on '{forget_set}', which "
                f"search.constraints.performance_increase_at_most is measured from; put the file back, or bound "
                f"performance_at_most instead (--force)"
            )
        return self._known[forget_set]
