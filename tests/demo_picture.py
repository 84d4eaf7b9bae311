"""Shrink the frontier figure of a demo sweep's report to the picture that README.md shows.

unlearn-sweep report sweeps/demo
python -m tests.demo_picture sweeps/demo
"""

import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

PICTURE = Path(__file__).parent.parent / "orchestrator" / "report" / "demo-frontier.svg"

_NAMESPACE = "http://www.w3.org/2000/svg"
_UNSEEN = ("class", "role", "pointer-events", "font-family")
_DEFAULTS = {("opacity", "1"), ("stroke-width", "1")}
_EMPTY = ("", "M0,0h0v0h0Z")
_FONT = "Helvetica, Arial, sans-serif"


def shrink(svg: str) -> str:
    """Return the same picture without what no viewer shows: labels for scripts, empty shapes, digits below 0.01 px."""
    ET.register_namespace("", _NAMESPACE)
    root = ET.fromstring(svg)
    for element in root.iter():
        for name in list(element.attrib):
            if name in _UNSEEN or name.startswith("aria-") or (name, element.get(name)) in _DEFAULTS:
                del element.attrib[name]
    _drop_unseen(root)
    root.set("font-family", _FONT)
    return re.sub(r"(\d\.\d\d)\d+", r"\1", ET.tostring(root, encoding="unicode")) + "\n"


def _drop_unseen(parent: ET.Element) -> None:
    children: list[ET.Element] = []
    for child in parent:
        _drop_unseen(child)
        group = child.tag == f"{{{_NAMESPACE}}}g"
        if group and not child.attrib:
            children += child
        elif not (group and len(child) == 0) and not _is_unseen(child):
            children.append(child)
    parent[:] = children


def _is_unseen(element: ET.Element) -> bool:
    return element.get("opacity") == "0" or element.get("display") == "none" or element.get("d") in _EMPTY


if __name__ == "__main__":
    figure = Path(sys.argv[1]) / "report" / "frontier.svg"
    PICTURE.write_text(shrink(figure.read_text()))
    sys.stdout.write(f"{PICTURE}: {PICTURE.stat().st_size} bytes\n")
