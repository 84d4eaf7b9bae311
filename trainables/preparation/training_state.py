"""How far a model in training is, as small data that travels between processes."""

from dataclasses import dataclass

from pydantic import TypeAdapter

REPORTED_EVERY_S = 2.0
"""Seconds between two reports of how far a training is, at least."""


@dataclass(frozen=True, kw_only=True)
class TrainingState:
    """How far a model in training is."""

    step: int
    """Optimizer steps taken."""
    steps: int
    """Optimizer steps of the whole training."""
    epochs: int
    """Epochs of the whole training."""
    loss: float | None
    """NLL of the last batch in nats per token; None: no step was taken yet."""
    left_s: float | None
    """Seconds that the rest will take, at the rate so far; None: unknown yet."""

    @property
    def epoch(self) -> int:
        """The epoch that the training is in, from 1."""
        return min(self.epochs, self.step * self.epochs // self.steps + 1)

    def encoded(self) -> bytes:
        """Return it as JSON."""
        return _STATE.dump_json(self)

    @staticmethod
    def decoded(content: bytes) -> "TrainingState | None":
        """Return what ``encoded`` has written; None: the content is something else, or of another version."""
        try:
            return _STATE.validate_json(content, strict=True)
        except ValueError:
            return None


_STATE = TypeAdapter(TrainingState)
