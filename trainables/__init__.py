"""The science layer: data, models, ascent, objectives, metrics. It knows nothing of Optuna, Parquet or sweeps."""
