"""YAML from anybody: parsed within bounds, so that no text takes the stack or the memory of who reads it."""

from typing import Any

import yaml

from orchestrator.errors import SweepError

DEEPEST = 64
"""Levels of a spec; its own use a dozen."""
_MERGE = "tag:yaml.org,2002:merge"
_KINDS = {list: "a list", str: "a text", type(None): "nothing", int: "a number", float: "a number"}
MOST_NODES = 1_000_000
"""Values of a spec, those that aliases repeat counted each time."""


def text_of(content: bytes, where: str) -> str:
    """Decode a text file.

    Raises:
        SweepError: it is not UTF-8.
    """
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise SweepError(f"{where}: not UTF-8 text ({error.reason} at byte {error.start}); is it damaged?") from None


def parse_yaml_value(text: str, where: str) -> Any:
    """Parse YAML; ``where`` names the text in messages.

    Raises:
        SweepError: it is not valid, has a key twice, is nested deeper than ``DEEPEST``, or has more values than
            ``MOST_NODES``.
    """
    try:
        _require_bounded(text, where)
        _require_single_keys(text, where)
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a ValueError: a date or a number that is none
        raise SweepError(f"{where}: not valid YAML: {error}") from None


def parse_yaml(text: str, where: str) -> dict[str, Any]:
    """Parse YAML that must be a mapping.

    Raises:
        SweepError: naming line and column.
    """
    data = parse_yaml_value(text, where)
    if not isinstance(data, dict):
        raise SweepError(
            f"{where}: expected a mapping of settings, found {_KINDS.get(type(data), 'a value')}; see "
            f"search_spaces/demo.yaml, or unlearn-sweep spec --reference"
        )
    return data


def _require_bounded(text: str, where: str) -> None:
    """Go through the text event by event, which needs no stack, and count."""
    sizes: dict[str, int] = {}
    """Values under each anchor."""
    above: list[tuple[str | None, int]] = []
    """Anchors of the collections that are open, and how many values came before each."""
    count = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            if event.anchor in {anchor for anchor, _ in above}:
                raise SweepError(
                    f"{where}: the alias '*{event.anchor}' stands inside what it repeats{event.start_mark}"
                )
            count += sizes.get(event.anchor or "", 1)
        elif isinstance(event, yaml.ScalarEvent):
            count += 1
            if event.anchor is not None:
                sizes[event.anchor] = 1
        elif isinstance(event, yaml.CollectionStartEvent):
            above.append((event.anchor, count))
            count += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = above.pop()
            if anchor is not None:
                sizes[anchor] = count - before
        if len(above) > DEEPEST:
            raise SweepError(f"{where}: nested deeper than {DEEPEST} levels, as no spec is{event.start_mark}")
        if count > MOST_NODES:
            raise SweepError(f"{where}: more than {MOST_NODES} values, as no spec has (aliases count each time)")


def _require_single_keys(text: str, where: str) -> None:
    """Refuse a key that stands twice in one mapping: YAML's parser would take the last and say nothing."""
    nodes, seen = [yaml.compose(text, Loader=yaml.SafeLoader)], set[int]()
    while nodes:
        node = nodes.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            nodes += node.value
        elif isinstance(node, yaml.MappingNode):
            first: dict[tuple[str, str], Any] = {}
            for key, value in node.value:
                nodes.append(value)
                if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
                    continue
                other = first.setdefault((key.tag, key.value), key)
                if other is not key:
                    raise SweepError(
                        f"{where}: line {key.start_mark.line + 1}: the key '{key.value}' was given on line "
                        f"{other.start_mark.line + 1} already; keep one of the two"
                    )
