"""Functions that are imported when they are first called: naming one costs nothing, whatever its module imports."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Deferred:
    """A function of a module that is imported by the first call.

    Registries say with it what computes an entry, so that reading what is registered does not load PyTorch.
    """

    module: str
    name: str

    def resolve(self) -> Any:
        """Import the module and return the function.

        Raises:
            ImportError: there is no such module.
            AttributeError: it has no such function.
        """
        return getattr(import_module(self.module), self.name)

    def as_function(self) -> Callable[..., Any]:
        """Return a plain function that calls it, which Ray makes a task of. Whoever names the task imports nothing."""

        def call(*arguments: Any, **options: Any) -> Any:
            return self(*arguments, **options)

        call.__name__ = call.__qualname__ = self.name
        return call

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Call the function."""
        return self.resolve()(*arguments, **options)
