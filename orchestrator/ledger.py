"""The committed Parquet files of a sweep: the only source of truth.

Each table has one file a trial, named by its key and replaced atomically as the trial grows. So a plain
``read_parquet('<sweep>/evaluations/*.parquet')`` sees every committed row exactly once, at any moment, and publishing
again changes nothing.
"""

import json
import socket
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.errors import SweepError
from orchestrator.identity import canonical_json, stratum_name
from orchestrator.schema import BASELINES, EVALUATIONS, FORGET_EXAMPLES, TABLES, TRIALS, to_table
from orchestrator.storage import Storage
from trainables.config import Distribution
from trainables.records import EvaluationRecord, ExampleRecord, Outcome, Status
from trainables.trial import Trial

SPEC, MANIFEST = "spec.yaml", "sweep.json"
BASELINES_FILE, FORGET_EXAMPLES_FILE = "references/baselines.parquet", "references/forget_sets.parquet"


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """A sweep's files. Workers publish rows through it, the driver proposals, readers read. Picklable."""

    storage: Storage
    sweep: str
    now: Callable[[], datetime] = _now

    def propose(self, trial: Trial, *, number: int, distribution: Distribution, proposal: dict[str, Any]) -> None:
        """Record a trial before it starts; its status is null until it ends."""
        row = {
            "sweep": self.sweep,
            "trial_id": trial.trial_id,
            "stratum": stratum_name(trial.forget_set, trial.seed),
            "forget_set": trial.forget_set,
            "distribution": distribution,
            "seed": trial.seed,
            "objective": trial.config.objective,
            "optimizer": trial.config.optimizer,
            "learning_rate": trial.config.learning_rate,
            "batch_size": trial.config.batch_size,
            "number": number,
            "clip_norm": trial.config.clip_norm,
            "schedule": trial.config.schedule,
            "horizon": trial.horizon,
            "target_step": trial.steps[-1],
            "config": canonical_json(trial.config.model_dump(mode="json")),
            "proposals": canonical_json([proposal]),
            "started_at": self.now(),
            "host": socket.gethostname(),
        }
        self._write("trials", trial.trial_id, [row])

    def propose_again(self, trial: Trial, proposal: dict[str, Any]) -> None:
        """Record that an ended trial was proposed once more; asked to go further, it is open again."""
        row = self.trial(trial.trial_id)
        row["proposals"] = canonical_json([*json.loads(row["proposals"]), proposal])
        if row["status"] == Status.COMPLETED and trial.steps[-1] > row["target_step"]:
            row |= {"target_step": trial.steps[-1], "status": None, "ended_at": None}
        self._write("trials", trial.trial_id, [row])

    def publish(
        self,
        trial_id: str,
        evaluations: list[EvaluationRecord],
        examples: list[ExampleRecord],
        outcome: Outcome | None,
    ) -> None:
        """Publish all of a trial's rows: examples first and the outcome last, so what is visible is complete."""
        trial = self.trial(trial_id)
        who = {
            name: trial[name]
            for name in EVALUATIONS.names
            if name in TRIALS.names and name not in ("status", "elapsed_s")
        }
        self._write("examples", trial_id, [{"trial_id": trial_id, **asdict(row)} for row in examples])
        self._write("evaluations", trial_id, [{**who, **asdict(row)} for row in evaluations])
        if outcome is not None:
            self._write(
                "trials",
                trial_id,
                [{**trial, **asdict(outcome), "ended_at": self.now(), "host": socket.gethostname()}],
            )

    def published(self, trial_id: str) -> tuple[list[EvaluationRecord], list[ExampleRecord]]:
        """Read back what ``publish`` wrote of a trial."""
        evaluations = [
            EvaluationRecord(**_only(EvaluationRecord, row) | {"status": Status(row["status"])})
            for row in self._read("evaluations", trial_id)
        ]
        examples = [ExampleRecord(**_only(ExampleRecord, row)) for row in self._read("examples", trial_id)]
        return evaluations, examples

    def fail(self, trial_id: str, message: str) -> None:
        """Record that a trial failed; the rows it had published stand."""
        trial = self.trial(trial_id)
        evaluations, _ = self.published(trial_id)
        last_step = evaluations[-1].step if evaluations else 0
        elapsed_s = evaluations[-1].elapsed_s if evaluations else 0.0
        outcome = Outcome(status=Status.FAILED, last_step=last_step, message=message, elapsed_s=elapsed_s)
        self._write("trials", trial_id, [{**trial, **asdict(outcome), "ended_at": self.now()}])

    def trial(self, trial_id: str) -> dict[str, Any]:
        """Read one trial's row."""
        rows = self._read("trials", trial_id)
        assert rows, f"trial {trial_id} was never proposed"
        return rows[0]

    def trials(self) -> list[dict[str, Any]]:
        """Read every trial's row, by stratum and order of proposal."""
        rows = self.table("trials").to_pylist()
        return sorted(rows, key=lambda row: (row["stratum"], row["number"]))

    def table(self, name: str) -> pa.Table:
        """Read a whole table, as it is committed now.

        Raises:
            SweepError: a file cannot be read as Parquet; it is named.
        """
        schema = TABLES[name]
        tables = []
        for path in self.storage.list(name, ".parquet"):
            content = self.storage.read(path)
            if content is not None:
                tables.append(self._parse(path, content, schema))
        return pa.concat_tables(tables) if tables else schema.empty_table()

    def save_checkpoint(self, trial_id: str, payload: bytes) -> None:
        """Replace the trial's checkpoint."""
        self.storage.publish(_checkpoint(trial_id), payload)

    def load_checkpoint(self, trial_id: str) -> bytes | None:
        """Read the trial's checkpoint, if there is one."""
        return self.storage.read(_checkpoint(trial_id))

    def discard_checkpoint(self, trial_id: str) -> None:
        """Forget the trial's checkpoint, if there is one."""
        self.storage.remove(_checkpoint(trial_id))

    def spec_text(self) -> str | None:
        """Read the resolved spec of the sweep; None where the sweep does not exist."""
        content = self.storage.read(SPEC)
        return content.decode() if content is not None else None

    def create(self, spec_text: str, manifest: dict[str, Any]) -> None:
        """Write what the sweep is. The spec comes last: a sweep exists once its spec does."""
        self.storage.publish(MANIFEST, json.dumps(manifest, indent=2, sort_keys=True).encode() + b"\n")
        self.storage.publish(SPEC, spec_text.encode())

    def manifest(self) -> dict[str, Any]:
        """Read ``sweep.json``."""
        content = self.storage.read(MANIFEST)
        manifest: dict[str, Any] = json.loads(content) if content else {}
        return manifest

    def publish_baselines(self, rows: list[dict[str, Any]]) -> None:
        """Write what base and reference models know before unlearning."""
        self._publish_rows(BASELINES_FILE, BASELINES, rows)

    def baselines(self) -> list[dict[str, Any]]:
        """Read what base and reference models know before unlearning; empty where it was not measured."""
        content = self.storage.read(BASELINES_FILE)
        rows: list[dict[str, Any]] = self._parse(BASELINES_FILE, content, BASELINES).to_pylist() if content else []
        return rows

    def publish_forget_examples(self, rows: list[dict[str, Any]]) -> None:
        """Write the texts that are unlearned."""
        self._publish_rows(FORGET_EXAMPLES_FILE, FORGET_EXAMPLES, rows)

    def forget_examples(self) -> pa.Table:
        """Read the texts that are unlearned; empty in a sweep that was written without them."""
        content = self.storage.read(FORGET_EXAMPLES_FILE)
        if content is None:
            return FORGET_EXAMPLES.empty_table()
        return self._parse(FORGET_EXAMPLES_FILE, content, FORGET_EXAMPLES)

    def _write(self, name: str, trial_id: str, rows: list[dict[str, Any]]) -> None:
        self._publish_rows(f"{name}/{trial_id}.parquet", TABLES[name], rows)

    def _publish_rows(self, path: str, schema: pa.Schema, rows: list[dict[str, Any]]) -> None:
        buffer = pa.BufferOutputStream()
        pq.write_table(to_table(schema, rows), buffer, compression="zstd")
        self.storage.publish(path, buffer.getvalue().to_pybytes())

    def _read(self, name: str, trial_id: str) -> list[dict[str, Any]]:
        path = f"{name}/{trial_id}.parquet"
        content = self.storage.read(path)
        rows: list[dict[str, Any]] = self._parse(path, content, TABLES[name]).to_pylist() if content is not None else []
        return rows

    def _parse(self, path: str, content: bytes, schema: pa.Schema) -> pa.Table:
        try:
            return pq.read_table(pa.BufferReader(content), schema=schema)
        except pa.ArrowException as error:
            raise SweepError(
                f"{self.storage.uri}/{path}: not a readable Parquet file ({error}); "
                f"move it out of the sweep, then resume: its trial runs again"
            ) from None


def _checkpoint(trial_id: str) -> str:
    return f"checkpoints/{trial_id}.safetensors"


def _only(record: type, row: dict[str, Any]) -> dict[str, Any]:
    return {field.name: row[field.name] for field in fields(record)}
