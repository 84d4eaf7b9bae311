"""What probes write: one file for each model and probe, published whole."""

import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.identity import canonical_json
from orchestrator.ledger.layout import probe_file
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.schema import PROBES
from orchestrator.ledger.tables.parquet import encode
from orchestrator.ledger.tables.rows import metric_row, to_table
from trainables.records import EvaluationRecord

if TYPE_CHECKING:
    from trainables.probes import ProbeRecord

_OF_TRIAL = (
    "trial_id", "stratum", "forget_set", "distribution", "seed", "replicate", "objective", "optimizer", "learning_rate",
)  # fmt: skip
"""Columns that the rows of a point repeat from its trial."""


@dataclass(frozen=True)
class ProbeWriter:
    """Publishes what probes found. Picklable."""

    ledger: Ledger

    def publish(
        self,
        model: str,
        probe: str,
        settings: Mapping[str, Any],
        found: "Iterable[ProbeRecord]",
        *,
        of: Mapping[str, Any],
        step: int | None,
    ) -> None:
        """Publish all that a probe found on a model, in place of what it found there before.

        Args:
            model: the model's part of the file's name.
            probe: name of the probe.
            settings: all settings of the probe.
            found: its measurements.
            of: the row of the model's trial; of a control its forget set, distribution and replicate.
            step: the step of the trial; None: the model is a control.
        """
        same = {
            "sweep": self.ledger.sweep,
            **{name: of.get(name) for name in _OF_TRIAL},
            "step": step,
            "probe_settings": canonical_json(settings),
            "host": socket.gethostname(),
            "ended_at": self.ledger.now(),
        }
        rows = [
            {
                **same,
                "role": one.role,
                "probe": one.probe,
                "variant": one.variant,
                "amount": one.amount,
                **_measured(one.after, ""),
                **_measured(one.before, "before_"),
                "scores": list(one.scores.items()),
                "elapsed_s": one.elapsed_s,
            }
            for one in found
        ]
        path = probe_file(model, probe)
        before = self.ledger.storage.read(path)
        self.ledger.fenced.publish(path, encode(to_table(PROBES, rows), after=before))


def _measured(evaluation: EvaluationRecord | None, prefix: str) -> dict[str, Any]:
    """Return what an evaluation measured, by column of the probes; what they have no column for is left out."""
    own = {} if evaluation is None else metric_row("evaluations", evaluation.columns())
    return {column: own[name] for name in own if (column := f"{prefix}{name}") in _MEASURED}


_MEASURED = frozenset(PROBES.names) - {"sweep", *_OF_TRIAL, "step", "elapsed_s", "scores"}
"""Names of an evaluation's values that have a column, before and after the probe."""
