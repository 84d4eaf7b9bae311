"""YAML from untrusted sources, parsed within bounds, so that no text exhausts the stack or the memory."""

from typing import Any

import yaml

from orchestrator.errors import SweepError

DEEPEST = 64
"""The most levels that a text may have; specs use a dozen."""
_MERGE = "tag:yaml.org,2002:merge"
_KINDS = {list: "a list", str: "a text", type(None): "nothing", int: "a number", float: "a number"}
MOST_NODES = 1_000_000
"""The most values that a text may have; values that aliases repeat count each time."""


def text_of(content: bytes, where: str) -> str:
    """Return the content of a text file as text.

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
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a ValueError: an impossible date or number
        raise SweepError(f"{where}: not valid YAML: {error}") from None


def parse_yaml(text: str, where: str) -> dict[str, Any]:
    """Parse YAML that must be a mapping; ``where`` names the text in messages.

    Raises:
        SweepError: as ``parse_yaml_value``, or it is not a mapping.
    """
    data = parse_yaml_value(text, where)
    if not isinstance(data, dict):
        raise SweepError(
            f"{where}: expected a mapping of settings, found {_KINDS.get(type(data), 'a value')}; see "
            f"search_spaces/demo.yaml, or unlearn-sweep spec --reference"
        )
    return data


def _require_bounded(text: str, where: str) -> None:
    """Refuse a text that is too deep or too large: count event by event, which needs no stack."""
    sizes: dict[str, int] = {}
    """Number of values under each anchor."""
    above: list[tuple[str | None, int]] = []
    """Anchors of the open collections, and the number of values before each."""
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
    """Refuse a key that is given twice in one mapping: YAML's parser would silently take the last."""
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
