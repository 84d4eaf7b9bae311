"""Whether a sweep's data and tokenizer have what the chosen metrics look at."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from trainables.data import Datasets, Example
from trainables.errors import nearest_name_hint
from trainables.metrics import ChosenMetric
from trainables.preparation.problems import Problem

_GENERATED = frozenset({"generations", "samples"})
_WITHOUT_ANSWERS = frozenset({"population", "heldout"})
"""Sets of the sweep's own of which evaluations score the completions only."""


def find_metric_problems(metrics: Sequence[ChosenMetric], datasets: Datasets, tokenizer: Any) -> list[Problem]:
    """Return what chosen metrics look at and the data, or the tokenizer, lacks.

    Args:
        metrics: chosen by the spec. Default ones need nothing that any sweep lacks.
        datasets: the data of the sweep.
        tokenizer: of the model.
    """
    problems = [problem for chosen in metrics for problem in _missing(chosen, datasets)]
    generating = sorted(chosen.name for chosen in metrics if _GENERATED & chosen.metric.reads)
    if generating and tokenizer.pad_token_id is None:
        problems.append(
            Problem(
                where="evaluation.metrics",
                found=f"{', '.join(generating)}, and the model's tokenizer has no padding token",
                allowed="prompts of different lengths need one, to be continued together",
                advice="give the tokenizer one (pad_token in tokenizer_config.json), or leave these metrics out",
            )
        )
    return problems


def _missing(chosen: ChosenMetric, datasets: Datasets) -> Iterator[Problem]:
    """Yield the sets that there are not, and those without the wrong answers that a metric compares with."""
    named: dict[str, Mapping[str, Sequence[Example]]] = {
        "forget": {f"data.forget_sets.{name}": own.forget for name, own in datasets.forget_sets.items()},
        "population": {f"data.forget_sets.{name}": own.population for name, own in datasets.forget_sets.items()},
        "heldout": {"data.heldout_source": datasets.heldout},
        "retain": {"data.retain_source": datasets.retain_sample(1)},
        **{name: {f"data.evaluation_sets.{name}": own} for name, own in datasets.evaluation.items()},
    }
    for name in chosen.settings.sets:
        if name not in named:
            yield Problem(
                where=f"evaluation.metrics.{chosen.name}",
                found=f"it looks at the set '{name}', which data.evaluation_sets does not have",
                allowed=nearest_name_hint(name, named),
                advice="name the set in data.evaluation_sets, or choose others in the metric's settings",
            )
            continue
        if "perturbed" in chosen.metric.reads and name in _WITHOUT_ANSWERS:
            yield Problem(
                where=f"evaluation.metrics.{chosen.name}",
                found=f"it compares with wrong answers, and of the set '{name}' evaluations score the completions only",
                allowed="forget sets, retain, and names of data.evaluation_sets",
                advice="give the same source under data.evaluation_sets and name that, or leave the set out",
            )
            continue
        for where, examples in named[name].items():
            if "perturbed" in chosen.metric.reads and not (len(examples) and examples[0].perturbed):
                yield Problem(
                    where=f"evaluation.metrics.{chosen.name}",
                    found=f"it compares with wrong answers, and the examples of {where} have none",
                    allowed="data with a column of wrong answers",
                    advice="name it in the source (columns: {perturbed: ...}), or leave the metric out",
                )
