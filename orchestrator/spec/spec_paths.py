"""Makes the paths of a spec absolute, once, when the spec is read.

Trials run in folders of their own and a sweep is resumed from anywhere, so a relative path is meaningful only where the
spec is read.
"""

from typing import Any, TypeVar

from trainables.config import Config, ModelConfig, ReadyModelConfig, SourceConfig
from trainables.paths import absolute, is_path

C = TypeVar("C", bound=Config)

PATH_SETTINGS = frozenset({"include_path"})
"""Names of paths in what a spec keeps as plain mappings: the settings of probes."""


def with_absolute_paths(config: C) -> C:
    """Return a configuration with every path in it absolute, at any depth. Hub ids and URIs are kept."""
    if isinstance(config, SourceConfig):
        return _updated(config, path=config.path and absolute(config.path))
    if isinstance(config, ModelConfig | ReadyModelConfig) and config.pretrained and is_path(config.pretrained):
        config = _updated(config, pretrained=absolute(config.pretrained))
    return _updated(config, **{name: _inside(getattr(config, name)) for name in type(config).model_fields})


def _inside(value: Any) -> Any:
    if isinstance(value, Config):
        return with_absolute_paths(value)
    if isinstance(value, dict):
        return {
            name: absolute(inner) if name in PATH_SETTINGS and isinstance(inner, str) else _inside(inner)
            for name, inner in value.items()
        }
    if isinstance(value, tuple):
        return tuple(map(_inside, value))
    return value


def _updated(config: C, **values: Any) -> C:
    changed = {name: value for name, value in values.items() if value != getattr(config, name)}
    return config.model_copy(update=changed) if changed else config
