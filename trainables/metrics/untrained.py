"""What is expected of an example that was never trained on. Readers of results take it from here, without SciPy."""

import math

EXPECTED_RELATIVE_EXPOSURE_BITS = math.log2(math.e)
"""Expected relative exposure of an example that was never trained on, for a large population (1.44 bits)."""
