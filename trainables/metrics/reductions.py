"""How the positions of a step weigh in its mean. It loads no PyTorch, so that settings can name it."""

from typing import Literal

Reduction = Literal["token", "sequence"]
"""``token``: every counted position weighs alike; ``sequence``: every example does, by the mean of its positions."""
