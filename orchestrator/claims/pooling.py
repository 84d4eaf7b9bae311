"""Which sweeps belong together: the replicates of sweeps that differ in seeds or models alone are pooled.

Sweeps that differ in anything else are judged apart, each in a table of its own, and compared by verdict.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc

from orchestrator.claims.horizons import joined_over_horizons
from orchestrator.claims.reading import EVALUATION_COLUMNS, EXAMPLE_COLUMNS, SetFacts, SweepTables
from orchestrator.errors import SweepError
from orchestrator.ledger import Ledger
from orchestrator.safe_text import command
from orchestrator.spec import SweepSpec, of_present_spec, stored_spec
from trainables.config import DataConfig

_NO_SETTING = ("name", "description", "checkpoint.", "resources.", "probes.", "search.budget.", "search.across")
"""What changes no trial, or only which trials there are by when."""
_DRAWS = ("data.seed", "preparation.seed")
"""What a replicate is drawn by, beside its number. ``seeds`` of the ascent draw nothing but the order of batches."""
_MORE = ("seeds", "replicates")
"""What adds replicates, or seeds inside them."""
_MODEL = "model."


@dataclass(frozen=True, kw_only=True)
class Member:
    """A sweep, and what its spec says."""

    ledger: Ledger
    spec: SweepSpec


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Sweeps whose replicates are judged together."""

    members: Sequence[Member]
    differences: Sequence[str]
    """Keys of the spec that differ between them: of seeds and of the model."""

    @property
    def sweeps(self) -> list[str]:
        """The names of its sweeps."""
        return [member.ledger.sweep for member in self.members]


def pools_of(ledgers: Sequence[Ledger]) -> list[Pool]:
    """Return sweeps grouped by what is not a seed or a model, in the order in which they were given.

    Raises:
        SweepError: there is none, or one is given twice.
    """
    if not ledgers:
        raise SweepError(f"claims: give at least one sweep, for example {command('claims', 'sweeps/demo')}")
    places = [ledger.storage.uri for ledger in ledgers]
    for place in places:
        if places.count(place) > 1:
            raise SweepError(f"claims: {place} is given {places.count(place)} times; a replicate counts once")
    groups: dict[str, list[Member]] = {}
    for ledger in ledgers:
        spec = stored_spec(ledger)
        same = {key: value for key, value in flat(spec).items() if not _may_differ(key, spec)}
        groups.setdefault(_text(same), []).append(Member(ledger=ledger, spec=spec))
    return [Pool(members=own, differences=_differing([flat(member.spec) for member in own])) for own in groups.values()]


def replicates_in(ledger: Ledger) -> int:
    """Return the number of replicates that a sweep has trials of."""
    trials = of_present_spec(ledger, stored_spec(ledger), ledger.table("trials"))
    return len(pc.unique(trials["replicate"]))


def tables_of(pool: Pool) -> list[SweepTables]:
    """Return the tables of each sweep of a pool."""
    names = _model_names(pool.members)
    return [_tables(member, name) for member, name in zip(pool.members, names, strict=True)]


def flat(spec: SweepSpec) -> dict[str, Any]:
    """Return every setting of a spec that can make a difference, by its path; lists are values."""
    found: dict[str, Any] = {}

    def walk(data: Mapping[str, Any], prefix: str) -> None:
        for key, value in data.items():
            if isinstance(value, Mapping) and value:
                walk(value, f"{prefix}{key}.")
            elif not f"{prefix}{key}.".startswith(_NO_SETTING):
                found[f"{prefix}{key}"] = value

    walk(spec.model_dump(mode="json"), "")
    return found


def _tables(member: Member, model: str) -> SweepTables:
    ledger, spec = member.ledger, member.spec
    settings = flat(spec)
    paths = joined_over_horizons(
        of_present_spec(ledger, spec, ledger.table("trials")),
        ledger.table("evaluations", list(EVALUATION_COLUMNS)),
        ledger.table("examples", list(EXAMPLE_COLUMNS)),
    )
    return SweepTables(
        sweep=ledger.sweep,
        trials=paths.trials,
        evaluations=paths.evaluations,
        examples=paths.examples,
        baselines=ledger.baselines().rows,
        sets={name: _facts(spec.data, name) for name in spec.data.unlearned},
        last_step=spec.steps[-1],
        performance_floor=spec.stop.max_heldout_nll_increase,
        matched_within=spec.data.matched_within,
        data=str(spec.data.seed),
        draws=_text({key: value for key, value in settings.items() if key in _DRAWS or key.startswith(_MODEL)}),
        model=model,
    )


def _facts(data: DataConfig, name: str) -> SetFacts:
    own = data.forget_set_of(name)
    return SetFacts(
        distribution=own.distribution,
        canary="" if own.distribution == "in" else own.canary or "own texts",
        repetitions="matched" if data.given(name) in data.matched else ", ".join(map(str, own.repetitions)),
        bucket=data.third(name),
    )


def _model_names(members: Sequence[Member]) -> list[str]:
    """Return a name for each sweep's model: family and size where that tells models apart, else the sweep's own."""
    models = [_text({key: value for key, value in flat(own.spec).items() if key.startswith(_MODEL)}) for own in members]
    names = [_family(own.spec) for own in members]
    if len(set(zip(names, models, strict=True))) > len(set(names)):
        return [f"{name} ({own.ledger.sweep})" for name, own in zip(names, members, strict=True)]
    return names


def _family(spec: SweepSpec) -> str:
    if spec.model.pretrained is not None:
        return str(spec.model.pretrained)
    architecture = spec.model.architecture or {}
    sizes = [
        str(next((architecture[name] for name in names if name in architecture), "?"))
        for names in (("hidden_size", "n_embd", "d_model"), ("num_hidden_layers", "n_layer", "num_layers"))
    ]
    return f"{architecture.get('model_type', 'model')} {'x'.join(sizes)}"


def _differing(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    keys = sorted(set().union(*settings))
    return [key for key in keys if len({_text(own.get(key)) for own in settings}) > 1]


def _may_differ(key: str, spec: SweepSpec) -> bool:
    """Return whether sweeps that differ in a key are pooled: of seeds, of the model, of repetitions chosen for it."""
    chosen = {f"data.forget_sets.{name}.repetitions" for name in spec.data.matched}
    return _is_draw(key) or key.startswith(_MODEL) or key in chosen


def _is_draw(key: str) -> bool:
    return key in _MORE or key.endswith(".seed")


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
