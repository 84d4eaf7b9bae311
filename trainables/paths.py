"""Texts that name a place on this machine: a path, relative or not, a ``file://`` URL; or an id of the hub."""

import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

PACKAGE_PREFIX = "package:"
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?(/[^/]+\.gguf)?", re.ASCII)


def absolute(path: str) -> str:
    """Return a path made absolute from the current folder, without ``.`` and ``..``; other URIs than files' as is.

    Links stay in it, since a machine of a cluster may have other ones; but where ``..`` leaves a linked folder they are
    followed, as the system does.
    """
    if path.lower().startswith("file://"):
        path = unquote(urlsplit(path).path)
    if _URI.match(path):
        return path
    there = (Path.home() / path[2:] if path.startswith("~/") else Path(path)).absolute()
    plain = os.path.normpath(there)
    if ".." in there.parts and os.path.realpath(plain) != os.path.realpath(there):
        return os.path.realpath(there)
    return plain


def is_path(pretrained: str) -> bool:
    """Return whether the name of a pretrained model can only be a path: what is on this machine, or is no hub id."""
    if pretrained.startswith(PACKAGE_PREFIX):
        return False
    if pretrained.lower().startswith("file://"):
        return True
    if _URI.match(pretrained):
        return False
    return pretrained.startswith((".", "/", "~/")) or not _HUB_ID.fullmatch(pretrained) or Path(pretrained).exists()
