from .exporting import DEFAULT_TOLERANCE, Export, export_step
from .hub import push_folder, require_hub
from .new_folder import require_free

__all__ = ["DEFAULT_TOLERANCE", "Export", "export_step", "push_folder", "require_free", "require_hub"]
