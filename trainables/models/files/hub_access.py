"""Quick checks of whether a pretrained model can be found. Without them, libraries retry for half a minute."""

import difflib
import socket
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from huggingface_hub import constants, is_offline_mode, try_to_load_from_cache

from trainables.config import ModelConfig
from trainables.errors import UnlearningError
from trainables.paths import PACKAGE_PREFIX, is_path

_TIMEOUT_S = 3.0
_ALLOWED = "give a local folder made by save_pretrained, a GGUF file, or a hub id that this machine can reach"


def hub_is_reachable() -> bool:
    """Return whether the Hugging Face hub answers. Its own client would retry for half a minute.

    True in offline mode, in which the client answers from its cache, and behind a proxy, where it cannot be tested.
    """
    if is_offline_mode() or getproxies():
        return True
    address = urlsplit(constants.ENDPOINT)
    port = address.port or (80 if address.scheme == "http" else 443)
    try:
        socket.create_connection((address.hostname, port), timeout=_TIMEOUT_S).close()
    except OSError:
        return False
    return True


def require_findable(config: ModelConfig) -> None:
    """Require that a pretrained model is on this machine or that the hub answers.

    Raises:
        UnlearningError: the path does not exist, or the hub id is not cached and the hub does not answer.
    """
    name = config.pretrained
    if name is None or name.startswith(PACKAGE_PREFIX) or Path(name).exists():
        return
    if is_path(name):
        missing = f"there is no such file or folder{_neighbours(Path(name))}"
        raise UnlearningError(f"model.pretrained: cannot load '{name}': {missing}; {_ALLOWED}")
    if _is_cached(name, config.revision):
        return
    nowhere = f"model.pretrained: cannot load '{name}': there is no such folder in {Path.cwd()}, it is not in the cache"
    if is_offline_mode():
        raise UnlearningError(f"{nowhere}, and HF_HUB_OFFLINE keeps this machine from asking the hub; {_ALLOWED}")
    if not hub_is_reachable():
        raise UnlearningError(f"{nowhere}, and {constants.ENDPOINT} does not answer; {_ALLOWED}")


def _is_cached(name: str, revision: str | None) -> bool:
    repository, file = (name.rpartition("/")[0], name.rpartition("/")[2]) if name.endswith(".gguf") else (name, None)
    return isinstance(try_to_load_from_cache(repository, file or "config.json", revision=revision), str)


def _neighbours(path: Path) -> str:
    """Return a hint, for a message, to the file or folder whose name is nearest to a missing path."""
    if not path.parent.is_dir():
        return f" (nor the folder '{path.parent}')"
    names = [entry.name for entry in path.parent.iterdir() if not entry.name.startswith(".")]
    near = difflib.get_close_matches(path.name, names, n=3)
    return f" (did you mean '{path.parent / near[0]}'?)" if near else ""
