"""Paths on this machine as users write them (relative, absolute, ``file://`` URLs), told apart from hub ids."""

import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

PACKAGE_PREFIX = "package:"
"""Begins the name of a file in an installed Python package."""
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?(/[^/]+\.gguf)?", re.ASCII)


def absolute(path: str) -> str:
    """Return a path as an absolute one, without ``.`` and ``..``. URIs other than ``file://`` are returned as they are.

    Symbolic links are kept, since the machines of a cluster may have different ones; they are resolved only where
    ``..`` follows a linked folder, as the operating system does.
    """
    if path.lower().startswith("file://"):
        path = unquote(urlsplit(path).path)
    if _URI.match(path):
        return path
    full = (Path.home() / path[2:] if path.startswith("~/") else Path(path)).absolute()
    normal = os.path.normpath(full)
    if ".." in full.parts and os.path.realpath(normal) != os.path.realpath(full):
        return os.path.realpath(full)
    return normal


def is_path(pretrained: str) -> bool:
    """Return whether the name of a pretrained model is a path: it exists on this machine, or cannot be a hub id."""
    if pretrained.startswith(PACKAGE_PREFIX):
        return False
    if pretrained.lower().startswith("file://"):
        return True
    if _URI.match(pretrained):
        return False
    return pretrained.startswith((".", "/", "~/")) or not _HUB_ID.fullmatch(pretrained) or Path(pretrained).exists()
