"""The sweep: spec, identity, ledger, search, runner, query, frontier, command line."""
