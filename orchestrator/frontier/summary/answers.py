"""The answer of a sweep in one sentence, and the definitions of what it is made of."""

from collections.abc import Sequence

from orchestrator.frontier.crossings import UNEXPOSED
from orchestrator.frontier.frontier import Frontier
from orchestrator.frontier.summary.notes import averaged
from orchestrator.frontier.summary.prices import is_exposed, own_kind_measured
from orchestrator.frontier.summary.texts import number_text, quality_name


def answer(frontiers: Sequence[Frontier]) -> str:
    """Return one sentence on what unlearning costs, as far as the sweep has come."""
    if not any(frontier.points for frontier in frontiers):
        return "What unlearning costs is not known yet: there is no completed evaluation."
    measure = "gen_ex" if any(frontier.measure == "gen_ex" for frontier in frontiers) else "rel_ex"
    ideal = {
        "gen_ex": "mean GenEx 0: as likely as under models that never saw the data",
        "rel_ex": f"mean RelEx {UNEXPOSED['rel_ex']:.2f}: ranked as never-trained examples are",
    }[measure]
    parts = "; ".join(f"for {frontier.forget_set} {_answer_of(frontier)}" for frontier in frontiers)
    return f"Ending the exposure ({ideal}) costs, by the best setting that was run: {parts}."


def _answer_of(frontier: Frontier) -> str:
    best = frontier.price(frontier.measure)
    if best is not None and best.steps is not None:
        costs = {
            "performance": "on held-out data",
            "population_nll": "on never-trained data of its own kind",
            "distractor_nll": "on retained data of its own kind",
        }
        known = [
            f"{level.mean:+.2g} {where}" for name, where in costs.items() if (level := best.lost[name]) is not None
        ]
        if known:
            known[0] = known[0].replace(" ", " nats/token ", 1)
            return f"{', '.join(known)}, at step {best.steps.mean:.0f}"
        performance = None if best.performance is None else best.performance.mean
        return f"{best.steps.mean:.0f} steps, at a held-out NLL of {number_text(performance, 3)} nats/token"
    if not is_exposed(frontier, frontier.measure):
        return "nothing, since it was not exposed"
    if not frontier.points:
        return "what is not known yet"
    reached = [row["unlearning_quality"] for row in frontier.points if row["unlearning_quality"] is not None]
    start = None if frontier.base is None else frontier.base["unlearning_quality"]
    of = "" if start is None else f" of {start:.1f}"
    left = f": at best {min(reached):.1f}{of} bits of {quality_name(frontier)} are left" if reached else ""
    return f"more than was tried, since no trial gets there without collapsing{left}"


def definitions(frontiers: Sequence[Frontier]) -> dict[str, str]:
    """Return definitions of the measures that these frontiers show, by name, for readers who do not know them."""
    theory = f"{UNEXPOSED['rel_ex']:.2f}"
    found = {}
    if any(frontier.measure == "gen_ex" for frontier in frontiers):
        found["GenEx"] = (
            "generalized exposure of an example, in bits: log2 of how many times likelier the model finds it than the "
            "reference models do, which never saw it. 0 is as if never trained, less is over-unlearned. In its mean, "
            "examples above and below 0 cancel; in the mean of |GenEx| they do not."
        )
    found["RelEx"] = (
        f"relative exposure of an example, in bits: log2 of the size of a never-trained population less log2 of the "
        f"example's rank in it. {theory} bits are expected of an example that was never trained."
    )
    quality = "mean |GenEx|" if "GenEx" in found else f"mean |RelEx - {theory}|"
    found["Frontier"] = f"{quality}, which is unlearning quality, against held-out NLL, at evaluated steps; both low."
    found["Price, lost"] = (
        "negative log-likelihood above the base model's, in nats per token, where the mean exposure has just ended, "
        f"interpolated between evaluated steps; mean over the {averaged(frontiers)} of one setting. On held-out data "
        f"of the training distribution"
    )
    if own_kind_measured(frontiers):
        found["Price, lost"] += ", and on data of the forget set's own kind: never trained (its population)"
        if "distractor_nll" in own_kind_measured(frontiers):
            found["Price, lost"] += ", and retained (its distractors)"
    found["Price, lost"] += "."
    if any(frontier.references for frontier in frontiers):
        found["Floor"] = (
            "what the reference models have themselves, each measured against the others: no model is expected below."
        )
    return found
