"""Which point of a space a study takes next: Optuna's samplers, and those that propose points themselves."""
