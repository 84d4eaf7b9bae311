"""What stands beside the verdicts and decides nothing: survival curves, mixed models, measures of exposure compared,
and what was not matched before unlearning."""
