"""The tables of a ledger as Parquet files: read, checked, migrated, extended and merged."""
