"""The models that are probed: those of the chosen points, and the base and reference models as their controls."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.identity import canonical_json
from orchestrator.ledger import Ledger
from orchestrator.points import EvaluatedStep
from orchestrator.spec import SweepSpec

UNLEARNED = "unlearned"
"""Role of the model of a point."""

REFERENCE = "reference-"
"""Beginning of the role of a reference model."""

Settings = Mapping[str, Any]
"""All settings of a probe, as plain data."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A model to probe on a forget set. Picklable."""

    role: str
    """``UNLEARNED``, ``base``, ``reference-0``, ..."""
    forget_set: str
    distribution: str
    replicate: int = 0
    evaluated: EvaluatedStep | None = None
    """The point; None: a control, which no trial has changed."""

    @property
    def key(self) -> str:
        """Its part of the names of its files."""
        if self.evaluated is None:
            return f"{self.role}-{self.forget_set}{f'-replicate-{self.replicate}' if self.replicate else ''}"
        return f"{self.evaluated.trial_id}-{self.evaluated.step}"

    @property
    def is_reference(self) -> bool:
        """Whether it is a reference model."""
        return self.role.startswith(REFERENCE)

    @property
    def step(self) -> int | None:
        """The evaluated step; None: it is a control."""
        return None if self.evaluated is None else self.evaluated.step

    @property
    def columns(self) -> Mapping[str, Any]:
        """What its rows repeat: of the trial, or the forget set alone."""
        if self.evaluated is None:
            return {
                "forget_set": self.forget_set,
                "distribution": self.distribution,
                "replicate": self.replicate,
            }
        return self.evaluated.trial

    def __str__(self) -> str:
        if self.evaluated is None:
            return f"{self.role} on '{self.forget_set}'{f' in replicate {self.replicate}' if self.replicate else ''}"
        return f"trial {self.evaluated.trial_id}, step {self.evaluated.step}"


@dataclass(frozen=True, kw_only=True)
class Job:
    """A model, and the probes that are left to do on it. One worker does it. Picklable."""

    subject: Subject
    probes: Mapping[str, Settings]

    def __str__(self) -> str:
        return f"{self.subject}: {', '.join(self.probes)}"


def subjects_of(ledger: Ledger, spec: SweepSpec, points: Sequence[EvaluatedStep]) -> list[Subject]:
    """Return the models of these points, each preceded by the controls of its forget set and replicate, which come
    once."""

    def subject(role: str, forget_set: str, replicate: int, evaluated: EvaluatedStep | None = None) -> Subject:
        distribution = spec.data.forget_set_of(forget_set).distribution
        return Subject(
            role=role, forget_set=forget_set, distribution=distribution, replicate=replicate, evaluated=evaluated
        )

    found: list[Subject] = []
    baselines = ledger.baselines()
    own: dict[tuple[str, int], list[EvaluatedStep]] = {}
    for point in points:
        own.setdefault((point.trial["forget_set"], point.trial["replicate"]), []).append(point)
    for (name, replicate), together in own.items():
        rows = baselines.in_replicate(replicate).of(name)
        found += [subject(row["model"], name, replicate) for row in rows if row["model"] != "copy"]
        found += [subject(UNLEARNED, name, replicate, point) for point in together]
    return found


def jobs_left(ledger: Ledger, subjects: Sequence[Subject], probes: Mapping[str, Settings]) -> list[Job]:
    """Return what is not done yet. A probe that was done with other settings is to be done again."""
    done = set(_done(ledger))
    jobs = []
    for subject in subjects:
        left = {
            name: settings
            for name, settings in probes.items()
            if (*_identity(subject), name, canonical_json(settings)) not in done
        }
        if left:
            jobs.append(Job(subject=subject, probes=left))
    return jobs


def _identity(subject: Subject) -> tuple[Any, ...]:
    trial_id = None if subject.evaluated is None else subject.evaluated.trial_id
    return trial_id, subject.step, subject.role, subject.forget_set, subject.replicate


def _done(ledger: Ledger) -> Iterator[tuple[Any, ...]]:
    names = ("trial_id", "step", "role", "forget_set", "replicate", "probe", "probe_settings")
    for row in ledger.probes().select(names).to_pylist():
        yield tuple(row[name] for name in names)
