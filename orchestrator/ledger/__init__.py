"""The committed Parquet files of a sweep: their schema, reading, appending, repairing and merging."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
