"""The points of a quasi-random sequence, by number. This module loads SciPy's statistics, which takes half a second."""

from scipy.stats import qmc

from orchestrator.search.sampling.listed_points import Candidate
from search_spaces import Space, all_dimensions, point_at


def quasi_random_point(space: Space, axis_length: int, *, seed: int, number: int) -> Candidate:
    """Return one point of a scrambled Sobol sequence (Owen 1998, "Scrambling Sobol' and Niederreiter-Xing points").

    Optuna's own QMCSampler counts in the study and takes its space from the first trial; here a point is a function of
    seed and number. Every dimension of every branch has a coordinate, so a branch's points are a part of the sequence.
    """
    paths = [path for path, _ in all_dimensions(space)]
    sequence = qmc.Sobol(len(paths) + 1, scramble=True, rng=seed)
    if number:  # SciPy refuses to go forward by 0
        sequence.fast_forward(number)
    *shares, how_far = sequence.random(1)[0].tolist()
    return point_at(space, dict(zip(paths, shares, strict=True))), int(how_far * axis_length)
