"""The commands, one module for each subject. ``orchestrator.cli.app`` registers their functions."""
