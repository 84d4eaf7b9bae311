from .admission import of_present_spec, on_axis
from .changes import Changes, compare, plugin_differences
from .chat_date import dated, day_of_creation, fix_chat_date, keep_chat_date
from .documentation.json_schema import spec_json_schema
from .documentation.reference import spec_reference
from .loading import amend_spec, dump_spec, load_spec, stored_spec, stored_spec_to_run
from .plugin_use import last_plugins, registered_names, require_plugins
from .resources_config import ResourcesConfig
from .search_config import BLIND, LISTING, BudgetConfig, ConstraintsConfig, SearchConfig
from .settled import keep_repetitions, settled_lengths, settled_sizes, unbounded, with_repetitions
from .sweep_spec import SweepSpec
from .trial_settings import trial_config

__all__ = [
    "BLIND",
    "LISTING",
    "BudgetConfig",
    "Changes",
    "ConstraintsConfig",
    "ResourcesConfig",
    "SearchConfig",
    "SweepSpec",
    "amend_spec",
    "compare",
    "dated",
    "day_of_creation",
    "dump_spec",
    "fix_chat_date",
    "keep_chat_date",
    "keep_repetitions",
    "last_plugins",
    "load_spec",
    "of_present_spec",
    "on_axis",
    "plugin_differences",
    "registered_names",
    "require_plugins",
    "settled_lengths",
    "settled_sizes",
    "spec_json_schema",
    "spec_reference",
    "stored_spec",
    "stored_spec_to_run",
    "trial_config",
    "unbounded",
    "with_repetitions",
]
