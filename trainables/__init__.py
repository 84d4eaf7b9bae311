"""The science: data, models, ascent, objectives, likelihoods, exposure. Knows no Optuna, no Parquet, no sweep."""
