"""Settings of the probes. Stub."""

from trainables.config import Config


class QuantizationSettings(Config):
    """Rounds the weights to few bits."""

    bits: tuple[int, ...] = (8, 4)
    """Bits of a weight."""


class RewordingSettings(Config):
    """Changes nothing."""
