"""The writes of a driver and of its trials: none begins once the driver has lost its sweep."""

from dataclasses import dataclass

import pyarrow as pa

from orchestrator.driver.leases import require_lease
from orchestrator.storage import Storage


@dataclass(frozen=True, kw_only=True)
class FencedStorage:
    """A sweep's storage, for writing. Before each write it makes sure that the driver still has the sweep.

    Every write raises ``LeaseLostError`` where another driver has followed, and ``SweepGoneError`` where the driver's
    file is gone.
    """

    storage: Storage
    driver: int | None
    """Number of the driver's lease; None: nothing is checked."""

    def require_lease(self) -> None:
        """Raise an error if the driver has lost its sweep."""
        if self.driver is not None:
            require_lease(self.storage, self.driver)

    def publish(self, path: str, content: bytes | pa.Buffer) -> None:
        """See ``Storage``."""
        self.require_lease()
        self.storage.publish(path, content)

    def create(self, path: str, content: bytes) -> bool:
        """See ``Storage``."""
        self.require_lease()
        return self.storage.create(path, content)

    def remove(self, path: str) -> None:
        """See ``Storage``."""
        self.require_lease()
        self.storage.remove(path)
