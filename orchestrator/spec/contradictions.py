"""Settings that contradict each other: refused in a spec that is given, not in a sweep that exists already."""

from orchestrator.errors import SweepError
from search_spaces import Space, repeated_settings
from trainables.config import ModelConfig, ReadyModelConfig
from trainables.paths import is_path


def require_no_contradiction(model: ModelConfig, space: Space, where: str) -> None:
    """Refuse a setting that is given twice, or that another one makes meaningless.

    Args:
        model: of the spec.
        space: the search space, parsed.
        where: what the spec was read from.

    Raises:
        SweepError: with every contradiction.
    """
    found = [
        f"search.space: '{name}' is given twice for one trial, as {' and '.join(paths)}; keep one: for all trials, or "
        f"under every value that it differs by"
        for name, paths in repeated_settings(space).items()
    ]
    named: dict[str, ModelConfig | ReadyModelConfig] = {"model": model}
    named |= {f"model.references.{number}": own for number, own in enumerate(model.references)}
    found += [
        f"{where}.revision: '{own.revision}' is of a hub id, and {where}.pretrained is the path '{own.pretrained}'; "
        f"leave revision out"
        for where, own in named.items()
        if own.revision is not None and own.pretrained is not None and is_path(own.pretrained)
    ]
    if found:
        raise SweepError("\n".join([f"{where}: not a valid sweep spec", *(f"  {line}" for line in found)]))
