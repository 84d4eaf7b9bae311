"""What an evaluation scores: the sweep's own sets, those that chosen metrics name, and other answers to the prompts."""

from collections.abc import Collection, Mapping

from orchestrator.spec import SweepSpec
from trainables.config import THIRDS
from trainables.data import Sizes
from trainables.metrics import chosen_metrics

_ALWAYS = ("forget", "population", "distractors", "heldout", "retain")


def keys_scored(spec: SweepSpec, forget_set: str, known: Collection[str]) -> list[str]:
    """Return which tokenized sets an evaluation of a forget set scores, by their keys (``SweepInputs.encoded``).

    Args:
        spec: the spec of the sweep.
        forget_set: the name of the forget set.
        known: the keys of all sets.
    """
    reads: dict[str, set[str]] = {name: set() for name in _ALWAYS}
    for chosen in chosen_metrics(spec.evaluation):
        for name in chosen.settings.sets:
            reads.setdefault(name, set()).update(chosen.metric.reads)
    own = f"data.forget_sets.{forget_set}"
    wanted = []
    for name, fields in reads.items():
        whole = {
            **{part: f"{own} ({part})" for part in ("forget", "population", "distractors")},
            "heldout": "data.heldout",
            "retain": "data.retain_evaluation",
        }.get(name, f"data.evaluation_sets.{name}")
        stem = own if name == "forget" else whole
        answers = [f"{stem} (paraphrase)"] if "paraphrase" in fields else []
        if "perturbed" in fields:
            answers += [key for key in known if key.startswith(f"{stem} (perturbed ")]
        wanted += [whole, *answers]
    return [key for key in wanted if key in known]


def examples_scored(spec: SweepSpec, known: Mapping[str, int]) -> float:
    """Return how many examples an evaluation scores, each answer counted, on average over forget sets and buckets.

    Args:
        spec: the spec of the sweep.
        known: the number of examples of each set by its key.
    """
    counts = []
    for name, bucket in spec.data.unlearned.items():
        given = spec.data.given(name)
        scored = {key: known[key] for key in keys_scored(spec, given, known)}
        thirds = 0 if bucket is None else sum(own for key, own in scored.items() if _is_of_forgotten(key, given))
        counts.append(sum(scored.values()) - thirds * (1 - 1 / len(THIRDS)))
    return sum(counts) / len(counts)


def _is_of_forgotten(key: str, forget_set: str) -> bool:
    """Return whether a tokenized set has the examples of a forget set, or other answers to them."""
    own = f"data.forget_sets.{forget_set} ("
    return key.startswith(own) and not key.removeprefix(own).startswith(("population", "distractors"))


def known_sizes(spec: SweepSpec, sizes: Sizes) -> dict[str, int]:
    """Return the number of examples of each set by its key, as far as it is known before other answers are read."""
    found = {"data.heldout": sizes.heldout, "data.retain_evaluation": spec.data.retain_evaluation}
    found |= {f"data.evaluation_sets.{name}": examples for name, examples in sizes.evaluation.items()}
    for name, own in sizes.forget_sets.items():
        found |= {
            f"data.forget_sets.{name} (forget)": own.forget,
            f"data.forget_sets.{name} (population)": own.population,
            f"data.forget_sets.{name} (distractors)": own.distractors,
        }
    return found
