"""The way to users' sources that loads Hugging Face ``datasets`` only where there is one to open."""

from collections.abc import Callable

from trainables.data.examples import SelectableExamples
from trainables.deferred import Deferred

open_source: Callable[..., SelectableExamples] = Deferred("trainables.data.sources", "open_source")
"""See ``trainables.data.sources.open_source``."""
