"""What is expected of an example that was never trained on. It loads no SciPy, so that readers of results need none."""

import math

EXPECTED_RELATIVE_EXPOSURE_BITS = math.log2(math.e)
"""Expected relative exposure of an example that was never trained on, for a large population: log2(e) = 1.44 bits."""
