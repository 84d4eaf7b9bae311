"""Pareto sets of two minimised objectives: their points, the area that they dominate, and their knee. Numbers only.

Shapes: N candidates, P points of a frontier, 2 objectives. Every number is finite. Non-dominated sorting and
hypervolume are moocore's.
"""

import moocore
import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]


def nondominated(values_N2: Numbers) -> npt.NDArray[np.intp]:
    """Return the indices of the non-dominated candidates, by the first objective; of equal ones, the first."""
    if not len(values_N2):
        return np.empty(0, dtype=np.intp)
    (kept,) = np.nonzero(moocore.is_nondominated(values_N2, keep_weakly=False))
    order: npt.NDArray[np.intp] = kept[np.argsort(values_N2[kept, 0], kind="stable")]
    return order


def hypervolume(values_N2: Numbers, reference_point: tuple[float, float]) -> float:
    """Return the area that the points dominate below the reference point; points beyond it add nothing."""
    if not len(values_N2):
        return 0.0
    return float(moocore.hypervolume(values_N2, ref=np.array(reference_point)))


def knee(frontier_P2: Numbers) -> int | None:
    """Return the index of the knee: the point farthest below the chord between the ends, with axes scaled to these.

    Das 1999, "On characterizing the 'knee' of the Pareto curve based on normal-boundary intersection", for two
    objectives. The points must be non-dominated, distinct and sorted by the first objective. Of equally distant points
    the first is the knee. None: fewer than three points, or none below the chord (a straight or bulging frontier).
    """
    if len(frontier_P2) < 3:
        return None
    first, last = frontier_P2[0], frontier_P2[-1]
    scaled_P2 = (frontier_P2 - (first[0], last[1])) / (last[0] - first[0], first[1] - last[1])
    below_P = 1 - scaled_P2.sum(axis=1)
    farthest = int(np.argmax(below_P))
    return farthest if below_P[farthest] > np.sqrt(np.finfo(float).eps) else None
