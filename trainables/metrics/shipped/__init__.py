"""The metrics that come with the tool, each a short function of scores. How metrics are chosen lives above."""
