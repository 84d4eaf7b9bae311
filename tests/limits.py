"""How long tests wait, and how much property tests try. A limit ends what hangs, and says nothing of a machine's speed.

A test waits for an event, and its limit is many times what the event takes on a slow machine that is busy. Nothing here
is to be lowered for a fast one: what does not hang never comes near it.
"""

from hypothesis import HealthCheck, settings

HANG_S = 900.0
"""For one event or one command, which take seconds, or a minute or two where a sweep has to start first."""
LONG_HANG_S = 3600.0
"""For a whole test of ``tests/integration`` or ``tests/e2e``, which waits for many events. Others: pyproject.toml."""

PROPERTY = settings(
    deadline=None,
    max_examples=40,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
"""For property tests; tests/conftest.py makes it the default."""
