"""Checks of what may keep a sweep from running here, before it runs."""

import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version

from orchestrator.errors import RunStoppedError, SweepError
from orchestrator.preparation import SweepInputs, check_inputs, datasets_of, source_hash
from orchestrator.resources import capacity, on_every_node, ray_session, require_shared
from orchestrator.run.machine_checks import MACHINE_CHECKS
from orchestrator.spec import ResourcesConfig, SweepSpec
from orchestrator.storage import open_storage
from trainables.encoding import load_tokenizer
from trainables.errors import UserError

PACKAGES = ("unlearn-sweep", "ray", "torch", "transformers", "accelerate", "optuna", "pyarrow")


@dataclass(frozen=True, kw_only=True)
class Check:
    """The result of one check."""

    name: str
    ok: bool
    found: str
    """What was found; where it is not ok, also what to do."""


def examine(spec: SweepSpec | None, *, storage: str, workers: int | None) -> Iterator[Check]:
    """Check this machine, or the cluster that ``RAY_ADDRESS`` names; yield each check as it is done.

    Args:
        spec: of the sweep that is to run; None: no sweep in particular.
        storage: where sweeps would live.
        workers: trials at once; None: as many as fit.
    """
    resources = spec.resources if spec is not None else ResourcesConfig()
    yield _check("packages", _packages)
    for name, look in MACHINE_CHECKS.items():
        yield _check(name, look)
    if spec is not None:
        yield _check("data", lambda: _data(spec))
        yield _check("model", lambda: _model(spec))
        yield _check("data and model", lambda: _ready(spec))
    try:
        with ray_session(resources, workers=workers):
            yield _check("code", _code)
            yield _check("storage", lambda: _storage(storage))
            yield _check("resources", lambda: _resources(resources, workers))
    except (SweepError, RunStoppedError) as error:  # there is no cluster to look at
        yield Check(name="cluster", ok=False, found=str(error))


def _check(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name=name, ok=True, found=look())
    except (UserError, RunStoppedError) as error:
        return Check(name=name, ok=False, found=str(error))


def _packages() -> str:
    found = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return f"Python {platform.python_version()}, {found}"


def _data(spec: SweepSpec) -> str:
    sets = datasets_of(spec).forget_sets
    found = []
    for name, own in sets.items():
        traits = spec.data.forget_sets[name].buckets
        thirds = f", whole and in thirds by {' and by '.join(traits)}" if traits else ""
        found.append(f"{name}: {len(own.forget)} to forget{thirds}, population {len(own.population)}")
    return ", ".join(found)


def _model(spec: SweepSpec) -> str:
    if spec.model.pretrained is None:
        return "made here, and trained from scratch"
    load_tokenizer(spec.model)
    return f"{spec.model.pretrained} is found"


def _ready(spec: SweepSpec) -> str:
    """Tokenize the data and compare it with what the model can read."""
    replicates = SweepInputs.of_all(spec)
    check_inputs(*replicates)
    tokens = sum(len(encoded.tokens) for encoded in replicates[0].encoded.values())
    return f"they go together: {tokens} tokens are scored at every evaluation of all forget sets"


def _code() -> str:
    """Compare the code of every machine with this one's: another version's numbers would mix with ours."""
    here = source_hash()
    answers = on_every_node(source_hash)
    wrong = [f"  {name}: {_other_code(answer)}" for name, answer in answers.items() if answer != here]
    if wrong:
        raise SweepError(
            "not every machine of the cluster has this code:\n" + "\n".join(wrong) + "\ninstall the same version on "
            "all of them, or send it along: 'unlearn-sweep submit' does"
        )
    return f"the same on {len(answers)} machine{'s' * (len(answers) != 1)}"


def _other_code(answer: object) -> str:
    return f"{type(answer).__name__}: {answer}" if isinstance(answer, Exception) else "another version"


def _storage(storage: str) -> str:
    root = open_storage(storage)
    machines = require_shared(root)
    later = "; machines that the cluster starts later must see it too" if capacity().declared else ""
    return f"{root.uri} is read and written by {len(machines)} machine{'s' * (len(machines) != 1)}{later}"


def _resources(resources: ResourcesConfig, workers: int | None) -> str:
    found = capacity()
    return f"{found.at_once(resources, asked=workers or resources.concurrent_limit)} trials at once, of {found}"
