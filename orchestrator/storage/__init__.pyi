from .local import LocalStorage, sync
from .paths import checked
from .protocol import Storage, open_storage
from .secret_uris import masked, require_no_secret, require_plain_storage
from .store_errors import is_unusable

__all__ = [
    "LocalStorage",
    "Storage",
    "checked",
    "is_unusable",
    "masked",
    "open_storage",
    "require_no_secret",
    "require_plain_storage",
    "sync",
]
