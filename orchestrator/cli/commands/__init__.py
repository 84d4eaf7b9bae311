"""The commands, by subject: each module has the functions that ``orchestrator.cli.app`` makes commands of."""
