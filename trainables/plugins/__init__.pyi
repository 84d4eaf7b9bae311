from .packages import PackageEntry
from .plugin_files import PluginFile, load_plugins, read_plugins
from .registry import Registry

__all__ = ["PackageEntry", "PluginFile", "Registry", "load_plugins", "read_plugins"]
