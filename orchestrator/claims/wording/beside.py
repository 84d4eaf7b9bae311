"""What stands beside the verdicts, in rows and sentences: survival curves, mixed models, measures of exposure."""

from orchestrator.claims.computing import Claims
from orchestrator.claims.describing.agreement import QUANTITIES
from orchestrator.claims.wording.texts import TextTable, estimate_text, number_text, p_text

ALWAYS_SHOWN = ("before", "after")
"""Quantities of agreement that are shown even where no set has them, which says something, too."""


def survival_table(claims: Claims) -> TextTable | None:
    """Return the times of each forget set as survival curves; None: not asked for, or nothing was measured."""
    if not claims.survival:
        return None
    horizon = claims.survival[0].horizon
    rows = [
        [
            own.forget_set,
            str(own.trials),
            str(own.censored),
            number_text(own.median),
            f"{number_text(own.median_low)} to {number_text(own.median_high)}",
            number_text(own.restricted_mean),
        ]
        for own in claims.survival
    ]
    heads = ("forget set", "trials", "censored", "median", "95% interval", f"mean to {horizon:g}")
    return TextTable(title="steps until as never trained, over all trials (Kaplan-Meier)", heads=heads, rows=rows)


def agreement_table(claims: Claims) -> TextTable | None:
    """Return how GenEx and RelEx agree on each forget set; None: not both were measured.

    ``-``: all examples are ties by one of the two, as where RelEx is at its ceiling, or nothing is as never trained.
    """
    sets = list(dict.fromkeys(own.forget_set for own in claims.agreements))
    cells = {(own.quantity, own.forget_set): estimate_text(own.estimate) for own in claims.agreements}
    rows = [
        [words, *(cells.get((quantity, name), "-") for name in sets)]
        for quantity, words in QUANTITIES.items()
        if quantity in ALWAYS_SHOWN or any((quantity, name) in cells for name in sets)
    ]
    return TextTable(title="GenEx and RelEx side by side", heads=("", *sets), rows=rows) if sets else None


def describing_notes(claims: Claims) -> list[str]:
    """Return what survival curves and mixed models add, and that they decide nothing."""
    lines = [
        f"{own.within} against {own.out}: log-rank p {p_text(own.p)}, as if trials were independent, which those of "
        f"one replicate are not: it decides nothing"
        for own in claims.tests or ()
    ]
    cells = {(own.quantity, own.forget_set) for own in claims.agreements}
    if any((quantity, name) not in cells for _, name in cells for quantity in ALWAYS_SHOWN):
        lines.append("-: all examples are tied by one of the two, as where RelEx is at its ceiling; or none got there")
    lines += [
        f"each nat/token of {own.trait}: {own.factor:.2f} times as many steps for an example ({own.low:.2f} to "
        f"{own.high:.2f}; mixed model, {own.examples} examples in trials of {own.replicates} replicates, "
        f"{own.censored} censored{'' if own.converged else '; it did not converge well: do not trust the interval'})"
        for own in claims.mixed or ()
    ]
    return lines
