"""What an evaluation has scored of every set, under the model and under the models before unlearning. No PyTorch.

Shape legend: N examples of a set, M target tokens of all of them (example after example), P parameter tensors.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from trainables.errors import UnlearningError

Array = npt.NDArray[np.float64]
Counts = npt.NDArray[np.signedinteger]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class SetScores:
    """Scores of a set of examples under one model, in the set's order. What was not asked for is None."""

    logp_N: Array
    """log p(x) of each example in nats: the sum over its target tokens."""
    num_targets_N: Counts
    """Number of target tokens of each example."""
    extracted_N: Flags | None = None
    """Whether greedy decoding from the prefix yields the rest of the target exactly."""
    logp_M: Array | None = None
    """log p of each target token given what is before it, nats."""
    is_top_M: Flags | None = None
    """Whether each target token is the model's most likely one; of equally likely ones the lowest id is."""
    mean_logp_M: Array | None = None
    """The mean of log p over the vocabulary, under p itself, at each target token: minus the entropy, nats."""
    variance_logp_M: Array | None = None
    """The variance of the same, nats squared."""
    gradient_norms_NP: Array | None = None
    """The norm of the gradient of each example's mean NLL, for each parameter tensor."""
    texts: tuple[str, ...] | None = None
    """The target texts."""
    truths: tuple[str, ...] | None = None
    """What the model should have generated: the targets, or what comes after the prefix that it was given."""
    generations: tuple[str, ...] | None = None
    """What the model generated greedily."""
    samples: tuple[tuple[str, ...], ...] | None = None
    """What it generated at a temperature: several texts for each example."""
    paraphrase: "SetScores | None" = None
    """The same examples with reworded answers."""
    perturbed: tuple["SetScores", ...] = ()
    """The same examples with wrong answers: the first of each, the second of each, and so on."""

    @classmethod
    def of(cls, logp: Sequence[npt.ArrayLike], **others: Any) -> "SetScores":
        """Return the scores of examples whose target tokens have these log-probabilities.

        Args:
            logp: for each example, log p of its target tokens, nats.
            others: any other field. Those that end in ``_M`` are given as ``logp`` is: for each example, its tokens'.
                Flags (``is_top_M``, ``extracted_N``) may be given as 0 and 1.

        Raises:
            UnlearningError: a flag is neither true, false, 0 nor 1.
        """
        rows = [np.asarray(row, dtype=np.float64) for row in logp]
        fields: dict[str, Any] = {
            name: np.concatenate([np.asarray(row) for row in values]) if name.endswith("_M") else values
            for name, values in others.items()
        }
        fields |= {name: _flags(name, fields[name]) for name in ("is_top_M", "extracted_N") if name in fields}
        return cls(
            logp_N=np.array([row.sum() for row in rows]),
            num_targets_N=np.array([len(row) for row in rows]),
            logp_M=np.concatenate(rows),
            **fields,
        )

    def __len__(self) -> int:
        return len(self.logp_N)

    @property
    def nll_per_token_N(self) -> Array:
        """Each example's NLL in nats per target token."""
        return -self.logp_N / self.num_targets_N

    @property
    def nll_per_token(self) -> float:
        """Token-weighted NLL of the set, in nats per token."""
        return float(-self.logp_N.sum() / self.num_targets_N.sum())

    def by_example(self, values_M: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
        """Return values of target tokens as one array an example."""
        return np.split(values_M, np.cumsum(self.num_targets_N)[:-1])

    def select(self, indices: Sequence[int]) -> "SetScores":
        """Return the scores of some examples, in the order of ``indices``."""
        tokens = self.by_example(np.arange(int(self.num_targets_N.sum())))
        tokens_M = np.concatenate([np.zeros(0, dtype=int), *(tokens[i] for i in indices)])

        def chosen(name: str, value: Any) -> Any:
            match value:
                case np.ndarray():
                    return value[tokens_M] if name.endswith("_M") else value[list(indices)]
                case SetScores():
                    return value.select(indices)
                case tuple() if name == "perturbed":
                    return tuple(wrong.select(indices) for wrong in value)
                case tuple():
                    return tuple(value[i] for i in indices)
                case _:
                    return value

        return SetScores(**{name: chosen(name, value) for name, value in vars(self).items()})

    def without_last_target(self) -> "SetScores":
        """Return the scores of every target token but the last of each example. Other answers are left as they are."""
        kept_M = np.ones(int(self.num_targets_N.sum()), dtype=bool)
        kept_M[np.cumsum(self.num_targets_N)[self.num_targets_N > 0] - 1] = False
        tokens = {
            name: value[kept_M] for name, value in vars(self).items() if name.endswith("_M") and value is not None
        }
        shorter = replace(self, num_targets_N=np.maximum(self.num_targets_N - 1, 0), **tokens)
        assert shorter.logp_M is not None
        return replace(shorter, logp_N=np.array([row.sum() for row in shorter.by_example(shorter.logp_M)]))


def _flags(name: str, values: npt.ArrayLike | None) -> Flags | None:
    """Return flags as booleans. Of whole numbers ``~`` would be other numbers, none of which is 0."""
    if values is None:
        return None
    given = np.asarray(values)
    wrong = [value for value in given.ravel().tolist() if value not in (0, 1)]
    if wrong:
        raise UnlearningError(f"SetScores.of: {name} has {wrong[0]!r}; each of its values is true or false (1 or 0)")
    return given.astype(bool)


ModelScores = Mapping[str, SetScores]
"""Scores of one model by name of the set."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """All that a metric may look at."""

    model: ModelScores
    """Under the model that is measured: ``forget``, ``population``, ``heldout``, ``retain``, and the sets of
    ``data.evaluation_sets`` that chosen metrics look at."""
    base: ModelScores = field(default_factory=dict)
    """Under the base model, before unlearning: ``forget``, and the sets of metrics that need reference models."""
    references: Sequence[ModelScores] = ()
    """Under each reference model: the same sets as under the base model, without what is scored of the measured model
    alone (generated texts and gradient norms)."""
