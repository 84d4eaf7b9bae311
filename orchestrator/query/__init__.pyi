from .formats import FORMATS, as_json, interval_text
from .limits import DEFAULT_TIMEOUT_S, Limits, parse_size
from .results import Results, open_results
from .sql import query

__all__ = [
    "DEFAULT_TIMEOUT_S",
    "FORMATS",
    "Limits",
    "Results",
    "as_json",
    "interval_text",
    "open_results",
    "parse_size",
    "query",
]
