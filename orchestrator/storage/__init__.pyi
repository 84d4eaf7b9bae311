from .descriptors import sync
from .local import LocalStorage
from .opening import open_storage
from .paths import checked_path
from .protocol import Storage
from .secret_uris import masked, require_no_secret, require_plain_storage
from .store_errors import is_unusable

__all__ = [
    "LocalStorage",
    "Storage",
    "checked_path",
    "is_unusable",
    "masked",
    "open_storage",
    "require_no_secret",
    "require_plain_storage",
    "sync",
]
