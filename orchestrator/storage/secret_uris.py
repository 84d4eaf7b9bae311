"""URIs that contain a password or a key. They are refused, since what users give is printed and written to files."""

import re

from orchestrator.errors import SweepError

_SECRET = re.compile(
    r"""(?P<before>://)[^\s/@:]*:(?!\d+/)[^\s@]+(?P<after>@)  # user:password@
      | (?P<name>[?&](?:[\w.-]*[_.-])?(?:token|secret|password|signature|sig|key|apikey)=)[^\s&#]+
    """,
    re.IGNORECASE | re.VERBOSE,
)


def masked(text: str) -> str:
    """Return the text with the secrets of its URIs replaced by ``***``."""
    return _SECRET.sub(
        lambda found: f"{found['name']}***" if found["name"] else f"{found['before']}***{found['after']}", text
    )


def require_plain_storage(location: str) -> None:
    """Refuse a storage's URI that contains a secret.

    Raises:
        SweepError: it contains one.
    """
    require_no_secret(
        location,
        "storage",
        "give it by the store's own variables or files (AWS_SECRET_ACCESS_KEY, ~/.aws/credentials, ~/.config/fsspec)",
    )


def require_no_secret(text: str, where: str, instead: str) -> None:
    """Refuse a text with a URI that contains a secret.

    Args:
        text: what a user gave.
        where: the place where it was given.
        instead: how to give the secret instead.

    Raises:
        SweepError: it contains one; the message shows the URI without it.
    """
    found = next((word for word in text.split() if masked(word) != word), None)
    if found is not None:
        raise SweepError(
            f"{where}: '{masked(found)}' has a password or key in it, which would be written down; {instead}"
        )
