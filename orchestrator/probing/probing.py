"""Probe a sweep: from the user's choice of points and probes to what is left of it, done and committed."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec

from orchestrator.driver import Interrupt, catch_signals, lease
from orchestrator.errors import SweepError, TaskFailedError
from orchestrator.ledger import PROBING, Ledger, add_failed_task, failed_tasks_logged, repair_probes
from orchestrator.probing.choice import Choice, choose_points
from orchestrator.probing.subjects import Job, Settings, jobs_left, subjects_of
from orchestrator.probing.work import Outcomes, Prober, Work
from orchestrator.safe_text import command
from orchestrator.spec import SweepSpec, amend_spec, require_plugins, stored_spec
from orchestrator.storage import masked
from trainables.deferred import Deferred
from trainables.plugins import PluginFile
from trainables.probes import PROBES, check_probe

_read_inputs = Deferred("orchestrator.points", "read_inputs")  # loads PyTorch, as the next
_replay_with = Deferred("orchestrator.points", "replay_with")

DEFAULT_PROBES = ("relearning", "quantization", "rewording")
"""What is tried where neither the user nor the spec names a probe."""
PROBERS: dict[str, Callable[[Interrupt, Callable[[str], None]], Prober]] = {
    "ray": Deferred("orchestrator.probing.by_ray", "RayProber"),
    "inline": Deferred("orchestrator.probing.inline", "InlineProber"),
}
"""What does the work, by name of the executor. Ray is loaded by its own alone."""


@dataclass(kw_only=True)
class ProbeSummary:
    """How a run of probes ended."""

    sweep: str
    uri: str
    points: list[tuple[str, int]]
    """The trials and steps that were chosen."""
    probes: list[str]
    done_before: int = 0
    """Probes of a model that had been done already."""
    done: int = 0
    """Probes of a model that were done now."""
    without: list[str] = field(default_factory=list)
    """Probes that found nothing to try, one line each."""
    failed: list[str] = field(default_factory=list)
    """What failed, one line each."""


def probe_sweep(
    ledger: Ledger,
    choice: Choice,
    *,
    probes: Sequence[str] = (),
    overrides: Sequence[str] = (),
    executor: str = "ray",
    take_over: bool = False,
    trust_remote_code: bool = False,
    plugins: tuple[PluginFile, ...] = (),
    report: Callable[[str], None] = lambda _: None,
) -> ProbeSummary:
    """Try probes on chosen points of a sweep, and on its base and reference models, as far as that is not done yet.

    Args:
        ledger: the ledger of the sweep.
        choice: the points.
        probes: names of the probes; empty: those of the spec, or else ``DEFAULT_PROBES``.
        overrides: settings of the spec below ``probes``, each ``probes.NAME.KEY=value``; they are not kept.
        executor: one of ``PROBERS``.
        take_over: follow another driver that has not ended and is not known to be dead.
        trust_remote_code: whether to run Python code that comes with the model.
        plugins: plugin files that were given on the command line, and run.
        report: called with what is done, before it is done.

    Raises:
        SweepError, UnlearningError: there is no such point or probe; the sweep's data, models or code are not what they
            were; another process drives the sweep; or an extra is missing.
        RunStoppedError: the storage failed, or the sweep was taken over; what was committed stands.
        SweepInterruptedError: a signal came; what was committed stands.
    """
    spec = stored_spec(ledger)
    _require_whole_models(spec)
    settings = probes_of(spec, probes, overrides, ledger)
    points = choose_points(ledger, choice)
    subjects = subjects_of(ledger, spec, points)
    summary = ProbeSummary(
        sweep=ledger.sweep,
        uri=ledger.storage.uri,
        points=[(point.trial_id, point.step) for point in points],
        probes=list(settings),
    )
    interrupt = Interrupt()
    held_lease = lease(ledger.storage, ledger.sweep, interrupt, take_over=take_over, probing=True)
    with catch_signals(interrupt), held_lease as held:
        ledger = replace(ledger, driver=held.number)
        repair_probes(ledger)
        jobs = jobs_left(ledger, subjects, settings)
        summary.done_before = len(subjects) * len(settings) - sum(len(job.probes) for job in jobs)
        if not jobs:
            return summary
        for name in {name for job in jobs for name in job.probes}:
            if (look_for := PROBES[name].look_for) is not None:
                look_for(check_probe(name, settings[name]), trusted=trust_remote_code)
        report("reading the data and the tokenizer")
        works = []
        for replicate in dict.fromkeys(job.subject.replicate for job in jobs):
            own = [job for job in jobs if job.subject.replicate == replicate]
            inputs = _read_inputs(ledger, replicate=replicate, trust_remote_code=trust_remote_code, plugins=plugins)
            for point in (point for point in points if point.trial["replicate"] == replicate):
                _replay_with(ledger, point, inputs)  # raises where its model cannot be made again
            works.append(Work(jobs=own, inputs=inputs, ledger=ledger))
        interrupt.raise_if_set()
        prober = PROBERS[executor](interrupt, report)
        last_words = f"stopped; go on with the same command: {command('probe', summary.uri)}"
        outcomes = _outcomes(works, summary, report)
        with failed_tasks_logged(ledger, PROBING), prober.session(works[0], last_words=last_words):
            for work in works:
                prober.run(work, outcomes)
        interrupt.raise_if_set()
    return summary


def probes_of(
    spec: SweepSpec, names: Sequence[str], overrides: Sequence[str], ledger: Ledger
) -> Mapping[str, Settings]:
    """Return all settings of the probes that are asked for, by name: see ``probe_sweep``.

    Raises:
        UnlearningError: a probe is unknown.
        SweepError: a setting is wrong, or is none of these probes'; a package that one of them needs is missing, or a
            plugin that the sweep needs.
    """
    chosen = dict.fromkeys(names or spec.probes or DEFAULT_PROBES)
    for override in overrides:
        _check_override(override, chosen)
    if overrides:
        require_plugins(spec, ledger)
        spec = amend_spec(spec, overrides)
    settings = {name: check_probe(name, spec.probes.get(name, {})).model_dump(mode="json") for name in chosen}
    for name in chosen:
        requires = PROBES[name].requires
        if requires is not None and find_spec(requires[0]) is None:
            raise SweepError(
                f"probe '{name}': the package '{requires[0]}' is not installed; install it here, and wherever sweeps "
                f"run: pip install 'unlearn-sweep[{requires[1]}]'; or leave the probe out"
            )
    return settings


def _check_override(override: str, chosen: Collection[str]) -> None:
    """Make sure that an override sets something of a probe that is tried."""
    section, *path = override.partition("=")[0].split(".")
    if section != "probes" or not path:
        raise SweepError(
            f"--set '{override}': a probe changes no trial, so only settings below 'probes' can be given here, "
            f"such as --set probes.quantization.bits=[4]"
        )
    if path[0] in PROBES and path[0] not in chosen:
        raise SweepError(
            f"--set '{override}': {', '.join(chosen)} {'is' if len(chosen) == 1 else 'are'} tried, and "
            f"'{path[0]}' is not; name it, and whatever else is to be tried, by --probe {path[0]}"
        )


def _require_whole_models(spec: SweepSpec) -> None:
    """Make sure that one worker holds a model of the sweep.

    Raises:
        SweepError: the sweep's trials cut their models into shards.
    """
    if spec.resources.parallelism == "fsdp":
        raise SweepError(
            "probe: the sweep's trials cut their model into shards over several workers (resources.parallelism: fsdp), "
            "and a probe takes a model whole, in one worker; export the point (unlearn-sweep export) and try it where "
            "it fits"
        )


def _outcomes(works: Sequence[Work], summary: ProbeSummary, report: Callable[[str], None]) -> Outcomes:
    """Return what notes how each job ended."""
    ended: list[Job] = []
    many = sum(len(work.jobs) for work in works)

    def done(job: Job, without: Sequence[str]) -> None:
        summary.done += len(job.probes) - len(without)
        summary.without += [f"{job.subject}: {name}" for name in without]
        ended.append(job)
        report(f"{len(ended)} of {many} models done: {job.subject}")

    def failed(job: Job, error: TaskFailedError) -> None:
        add_failed_task(works[0].ledger, error, PROBING)
        ended.append(job)
        summary.failed.append(masked(str(error)))
        report(f"{len(ended)} of {many} models ended: {summary.failed[-1]}")

    return Outcomes(done=done, failed=failed)
