"""The way to users' sources that loads Hugging Face ``datasets`` only where there is one to open."""

from collections.abc import Callable

from trainables.deferred import Deferred
from trainables.examples import SelectableExamples

open_source: Callable[..., SelectableExamples] = Deferred("trainables.sources", "open_source")
"""See ``trainables.sources.open_source``."""
