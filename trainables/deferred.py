"""Functions whose module is imported when they are first called, so that naming one is cheap."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Deferred:
    """A function of a module that the first call imports.

    Registries use it to name what computes an entry, so that listing the entries does not load PyTorch.
    """

    module: str
    name: str

    def resolve(self) -> Any:
        """Import the module and return the function.

        Raises:
            ImportError: the module does not exist.
            AttributeError: the module has no such function.
        """
        return getattr(import_module(self.module), self.name)

    def as_function(self) -> Callable[..., Any]:
        """Return a plain function that calls this one. Ray can make a task of it without importing the module."""

        def call(*arguments: Any, **options: Any) -> Any:
            return self(*arguments, **options)

        call.__name__ = call.__qualname__ = self.name
        return call

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Call the function with these arguments."""
        return self.resolve()(*arguments, **options)
