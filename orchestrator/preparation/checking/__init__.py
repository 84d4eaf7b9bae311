"""Whether data, model and settings of a sweep fit together, and whether there is anything to unlearn."""
