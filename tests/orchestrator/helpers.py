"""Tiny specs, invented evaluations, and a loop that runs a search without Ray or a model."""

import copy
import math
import uuid
from dataclasses import dataclass, field

from orchestrator.identity import trial_key
from orchestrator.ledger import DriverWriter, Ledger, TrialWriter
from orchestrator.search import Assignment, SweepSearch, TrialLedger
from orchestrator.spec import SweepSpec, dump_spec
from orchestrator.spec.sweep_spec import validate_spec
from orchestrator.storage import LocalStorage, ObjectStorage
from trainables.config import TrialConfig
from trainables.records import EvaluationRecord, ExampleRecord, Outcome, Status, Trial

WORKLOAD = "workload"
FLOOR = 6.0
"""Invented performance beyond which an invented trial is collapsed."""
EXPLODES = 5e-3
"""Learning rate from which an invented trial turns non-finite."""

SPEC = {
    "name": "tiny",
    "model": {"architecture": {"model_type": "llama"}, "vocab_size": 300},
    "data": {
        "retain": 100,
        "retain_evaluation": 10,
        "heldout": 10,
        "forget_sets": {
            "verses": {"distribution": "in", "size": 4, "population": 8},
            "people": {"distribution": "out", "canary": "personal_data", "size": 4, "population": 8},
        },
    },
    "preparation": {"epochs": 2, "batch_size": 10, "learning_rate": 1e-3},
    "steps": [0, 2, 5, 9],
    "seeds": [0],
    "search": {
        "sampler": "random",
        "across": "each",
        "trials": 4,
        "space": {
            "batch_size": 4,
            "optimizer": {
                "choices": {
                    "adamw": {"learning_rate": {"low": 1e-5, "high": 1e-2, "log": True}},
                    "sgd": {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}, "momentum": [0.0, 0.9]},
                }
            },
        },
    },
}

PROPOSAL = {"number": 0, "point": {}, "step_index": 0, "notes": {}}
"""A proposal of which nothing is to be known."""

FEW_POINTS = {"batch_size": 4, "learning_rate": [1e-4, 1e-3, 1e-2]}
"""A space so small that every sampler repeats itself."""


def spec_data(**sections):
    """Copy the tiny spec as plain data; a mapping is merged into its section, anything else replaces it."""
    data = copy.deepcopy(SPEC)
    for name, value in sections.items():
        data[name] = {**data[name], **value} if isinstance(value, dict) and name in data else value
    return data


def make_spec(**sections) -> SweepSpec:
    return validate_spec(spec_data(**sections), "test")


def memory_ledger() -> Ledger:
    return Ledger(storage=ObjectStorage(f"memory://{uuid.uuid4().hex}"), sweep="tiny")


def trial_ledger(ledger, spec=None) -> TrialLedger:
    """Open a ledger as a sweep's trials have it."""
    return TrialLedger.of(ledger, spec or make_spec(), WORKLOAD)


def make_search(spec, ledger, *, concurrent_trials=1, **options) -> SweepSearch:
    return SweepSearch(spec, ledger, workload_hash=WORKLOAD, concurrent_trials=concurrent_trials, **options)


def make_trial(*, forget_set="verses", seed=0, steps=(0, 2, 5), horizon=None, workload_hash=WORKLOAD, **config):
    config = TrialConfig(**({"learning_rate": 1e-3, "batch_size": 4} | config))
    trial = Trial(trial_id="", forget_set=forget_set, seed=seed, config=config, steps=steps, horizon=horizon)
    return Trial(**{**vars(trial), "trial_id": trial_key(trial, workload_hash=workload_hash)})


def evaluation_record(step=0, *, quality=1.0, performance=3.0, gen_ex=None, rel_ex=2.0, status=Status.COMPLETED):
    return EvaluationRecord(
        step=step,
        status=status,
        forget_nll=1.5,
        gen_ex=gen_ex,
        gen_ex_abs=None if gen_ex is None else abs(gen_ex),
        gen_ex_per_token=None if gen_ex is None else gen_ex / 8,
        rel_ex=rel_ex,
        rel_ex_skew_normal=2.5,
        extraction_rate=0.25,
        membership_auc=0.5,
        retain_nll=2.0,
        heldout_nll=performance,
        heldout_perplexity=math.exp(min(performance, 88)),
        bleu=None,
        chrf=None,
        unlearning_quality=quality,
        performance=performance,
        population_nll=2.5,
        tokens_seen=step * 10,
        elapsed_s=step * 0.5,
    )


def example_record(step=0, example_id="verses-000000", *, nll=1.5):
    return ExampleRecord(
        step=step,
        example_id=example_id,
        num_tokens=8,
        nll=nll,
        gen_ex=0.5,
        rel_ex=2.0,
        rel_ex_skew_normal=2.5,
        extracted=False,
        memorization=0.1,
        difficulty=3.0,
    )


def outcome(status=Status.COMPLETED, *, last_step=9, message=None):
    return Outcome(status=status, last_step=last_step, message=message, elapsed_s=4.5)


def invent(trial: Trial) -> tuple[list[EvaluationRecord], Status]:
    """Invent a whole trial as a function of its settings: exposure falls and loss grows with learning rate x step."""
    records = []
    for step in trial.steps:
        if step > 2 and trial.config.learning_rate > EXPLODES:
            return records, Status.DIVERGED
        push = trial.config.learning_rate * 1e3 * step * (1 + trial.config.momentum)
        exposure = 10 - push * (1 if trial.forget_set == "verses" else 2) - trial.seed / 8
        performance = 3 + push**2 / 100 + trial.seed / 4
        collapsed = performance > FLOOR
        status = Status.COLLAPSED if collapsed else Status.COMPLETED
        records.append(
            evaluation_record(step, quality=abs(exposure), performance=performance, gen_ex=exposure, status=status)
        )
        if collapsed:
            return records, Status.COLLAPSED
    return records, Status.COMPLETED


def base_record() -> EvaluationRecord:
    """What ``invent`` says of step 0."""
    return evaluation_record(0, quality=10.0, performance=3.0, gen_ex=10.0)


class Crash(Exception):
    """The driver died."""


@dataclass
class Driver:
    """Runs a search's trials with invented numbers, and dies after ``crash_after`` events, if that is given.

    An event is a proposal handed out, or an evaluation published.
    """

    search: SweepSearch
    ledger: Ledger
    crash_after: int | None = None
    events: int = 0
    started: list[Assignment] = field(default_factory=list)
    base_rows: bool = True
    """False: as versions before 5 did, which had a row of step 0 only where the axis has that step."""

    def run(self) -> list[str]:
        """Run to the end, one trial at a time; give trial ids in the order they started."""
        while (assignment := self.search.next()) is not None:
            self.start(assignment)
            self.finish(assignment)
        return [assignment.trial.trial_id for assignment in self.started]

    def start(self, assignment: Assignment) -> None:
        self.started.append(assignment)
        self._tick()

    def finish(self, assignment: Assignment) -> None:
        """Publish and report every evaluation that the ledger lacks, then the outcome.

        As real trials do, it publishes the base model's row too, and reports that only where the axis has step 0.
        """
        trial, worker = assignment.trial, TrialWriter(self.ledger)
        records, status = invent(trial)
        base = [] if 0 in trial.steps or not self.base_rows else [base_record()]
        done = len([e for e in self.ledger.published(trial.trial_id)[0] if e.step in trial.steps])
        for count in range(done + 1, len(records) + 1):
            last = outcome(status, last_step=records[-1].step) if count == len(records) else None
            rows = [*base, *records[:count]]
            worker.publish(trial.trial_id, rows, [example_record(record.step) for record in rows], last)
            self.search.observe(assignment, told(records[count - 1]))
            self._tick()
        if done == len(records):
            last_step = records[-1].step if records else 0
            rows = self.ledger.published(trial.trial_id)
            worker.publish(trial.trial_id, *rows, outcome(status, last_step=last_step))
        self.search.end(assignment, status)

    def _tick(self) -> None:
        self.events += 1
        if self.events == self.crash_after:
            raise Crash


def told(record: EvaluationRecord) -> dict:
    """What a worker reports to Tune of an evaluation."""
    return {
        "step": record.step,
        "unlearning_quality": record.unlearning_quality,
        "performance": record.performance,
        "feasible": record.status is Status.COMPLETED,
    }


def write_sweep(folder, spec: SweepSpec, **options) -> Ledger:
    """Write a whole sweep of invented numbers under ``folder``."""
    return write_sweep_to(Ledger(storage=LocalStorage(folder / spec.name), sweep=spec.name), spec, **options)


def write_sweep_to(ledger: Ledger, spec: SweepSpec, **options) -> Ledger:
    """Write a whole sweep of invented numbers; ``options`` are those of ``Driver``."""
    ledger.manifest.create(dump_spec(spec), {"sweep": spec.name}, {"python": "3.11"})
    Driver(make_search(spec, ledger), ledger, **options).run()
    models = {
        "base": base_record(),
        "reference-0": evaluation_record(0, quality=2.0, performance=3.1, gen_ex=-0.5, rel_ex=1.0),
        "reference-1": evaluation_record(0, quality=3.0, performance=3.2, gen_ex=0.5, rel_ex=1.2),
    }
    skip = ("step", "status", "tokens_seen", "elapsed_s")
    DriverWriter(ledger).publish_forget_examples(
        [
            {"forget_set": name, "example_id": "verses-000000", "prompt": "", "completion": name, "repetitions": 1}
            for name in spec.data.forget_sets
        ]
    )
    DriverWriter(ledger).publish_baselines(
        [
            {"model": model, "forget_set": name, **{k: v for k, v in vars(record).items() if k not in skip}}
            for model, record in models.items()
            for name in spec.data.forget_sets
        ]
    )
    return ledger
