"""What may differ when a sweep goes on: nothing but what changes no number, unless it adds, or is forced."""

import pytest

from orchestrator.errors import LedgerWarning, SweepError
from orchestrator.spec import amend_spec, compare
from tests.orchestrator.helpers import make_spec

CODE = {"version": "1", "sources": "a" * 64, "commit": "c" * 40, "dirty": False}
MANIFEST = {"identity_version": 1, "data_hash": "d", "models": {"base": {"key": "k", "seed": 3}}, "code": CODE}


def changes(*overrides, **manifest):
    spec = make_spec()
    return compare(spec, amend_spec(spec, overrides), MANIFEST, {**MANIFEST, **manifest})


def test_nothing_changed():
    assert not changes()


FILE = {"file": "mine.py", "sha256": "a" * 64, "sources": "b" * 64, "provides": {"objective": ["mine"]}}
PACKAGE = {"package": "my-package", "version": "0.1", "sources": "b" * 64, "provides": {"objective": ["mine"]}}


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        (FILE, FILE | {"sha256": "c" * 64, "file": "renamed.py"}, None),
        (FILE, FILE | {"provides": {"objective": ["other"]}, "sources": "d" * 64}, None),
        (
            FILE,
            FILE | {"sources": "d" * 64},
            "was of the plugin file mine.py, SHA-256 aaaaaaaaaaaa, sources bbbbbbbbbb",
        ),
        (FILE, PACKAGE, "is of the package my-package 0.1"),
        (PACKAGE, PACKAGE | {"version": "0.2"}, "is of the package my-package 0.2"),
        (PACKAGE, PACKAGE | {"sources": "d" * 64}, "is of the package my-package 0.1, sources dddddddddddd"),
    ],
)
def test_a_plugin_that_computes_something_else_warns_as_other_code_does(before, now, said):
    spec = make_spec()
    found = compare(spec, spec, {**MANIFEST, "plugins": [before]}, {**MANIFEST, "plugins": [now]})
    assert found.breaking == ()
    assert len(found.code) == (said is not None)
    if said is not None:
        assert f"objective 'mine': {'was' if 'was' in said else ''}" in found.code[0]
        assert said in found.code[0]
        with pytest.warns(LedgerWarning, match="new rows differ where it computes something else"):
            found.require_allowed("sweep", force=False)


@pytest.mark.parametrize(
    "override",
    [
        "description=new words",
        "checkpoint.every_s=1",
        "checkpoint.every_steps=7",
        "resources.concurrent_trials=3",
        "resources.max_failures=0",
        "probes.quantization.bits=[4]",
    ],
)
def test_what_changes_no_number_is_free(override):
    found = changes(override)
    assert len(found.free) == 1
    assert (found.additions, found.breaking) == ((), ())
    found.require_allowed("sweep", force=False)


def test_the_same_data_may_lie_elsewhere_or_be_spelled_otherwise():
    def moved(path):
        return make_spec(data={"heldout_source": {"path": path}})

    other = compare(moved("data/a.jsonl"), moved("./data/a.jsonl"), MANIFEST, MANIFEST)
    assert other.free == ("data.heldout_source.path: was data/a.jsonl, is ./data/a.jsonl",)
    assert other.breaking == ()
    changed = compare(moved("data/a.jsonl"), moved("data/b.jsonl"), MANIFEST, {**MANIFEST, "data_hash": "e"})
    assert len(changed.breaking) == 2
    assert compare(moved("a.jsonl"), moved("b.jsonl"), {}, {}).breaking


@pytest.mark.parametrize("override", ["search.trials=9", "steps=[0, 2, 5, 9, 12, 40]", "seeds=[0, 5]", "replicates=3"])
def test_more_trials_later_steps_and_further_seeds_add(override):
    found = changes(override)
    assert len(found.additions) == 1
    assert (found.free, found.breaking) == ((), ())
    found.require_allowed("sweep", force=False)


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("search.trials=2", "search.trials: was 4, is 2"),
        ("steps=[0, 2, 9]", "steps: was [0, 2, 5, 9], is [0, 2, 9]"),
        ("steps=[0, 1, 2, 5, 9]", "steps: was [0, 2, 5, 9], is [0, 1, 2, 5, 9]"),
        ("seeds=[5, 0]", "seeds: was [0], is [5, 0]"),
        ("search.space.batch_size=2", "search.space.batch_size: was 4, is 2"),
        ("search.sampler=tpe", "search.sampler: was random, is tpe"),
        ("data.retain=101", "data.retain: was 100, is 101"),
        ("resources.threads_per_trial=2", "resources.threads_per_trial: was 1, is 2"),
        ("stop.max_heldout_nll_increase=1", "stop.max_heldout_nll_increase: was 3.0, is 1.0"),
    ],
)
def test_what_gives_rows_of_another_kind_is_refused_by_name(override, line):
    found = changes(override)
    assert found.breaking == (line,)
    with pytest.raises(SweepError) as caught:
        found.require_allowed("/sweeps/tiny", force=False)
    assert line in str(caught.value)
    assert "--force" in str(caught.value)
    found.require_allowed("/sweeps/tiny", force=True)


@pytest.mark.parametrize(
    ("present", "line"),
    [
        ({"data_hash": "e"}, "data_hash: was d, is e"),
        ({"models": {"base": {"key": "other", "seed": 3}}}, "models.base.key: was k, is other"),
        ({"identity_version": 2}, "identity_version: was 1, is 2"),
    ],
)
def test_other_data_models_or_identity_versions_are_refused_by_name(present, line):
    (found,) = changes(**present).breaking
    assert line in found


@pytest.mark.parametrize(
    ("code", "line"), [({"sources": "b" * 64}, "sources bbbbbbbbbbbb"), ({"version": "2"}, "is version 2")]
)
def test_other_code_of_the_same_identity_version_is_warned_of_and_goes_on(code, line):
    found = changes(code={**CODE, **code})
    assert found
    assert not found.breaking
    with pytest.warns(LedgerWarning, match=line):
        found.require_allowed("/sweeps/tiny", force=False)


def test_another_commit_of_the_same_sources_is_no_change():
    assert not changes(code={**CODE, "commit": "e" * 40, "dirty": True})


def test_a_sweep_from_before_sources_were_recorded_may_go_on():
    spec = make_spec()
    assert not compare(spec, spec, {**MANIFEST, "code": {"commit": "c"}}, MANIFEST)


@pytest.mark.parametrize(
    ("before", "now", "adds"),
    [
        ("[]", "memorization", True),
        ("difficulty", "[memorization, difficulty]", True),
        ("[memorization, difficulty]", "difficulty", False),
        ("memorization", "difficulty", False),
        ("memorization", "[]", False),
    ],
)
def test_buckets_of_a_forget_set_are_added_and_not_taken_away(before, now, adds):
    old, new = (
        amend_spec(make_spec(preparation={"references": 1}), [f"data.forget_sets.verses.buckets={given}"])
        for given in (before, now)
    )
    found = compare(old, new, MANIFEST, MANIFEST)
    assert (len(found.additions), len(found.breaking), found.free) == ((1, 0, ()) if adds else (0, 1, ()))
    assert "data.forget_sets.verses.buckets" in (*found.additions, *found.breaking)[0]


def test_replicates_grow_and_do_not_shrink_and_none_of_them_changes():
    spec, facts = amend_spec(make_spec(), ["replicates=3"]), {"data_hash": "e", "workload_hash": "w"}
    recorded = {**MANIFEST, "replicates": {"1": facts, "2": {**facts, "data_hash": "f"}}}
    assert not compare(spec, spec, recorded, recorded)
    other = {**recorded, "replicates": {**recorded["replicates"], "2": facts}}
    assert compare(spec, spec, recorded, other).breaking == ("replicates.2.data_hash: was f, is e",)
    grown = compare(spec, amend_spec(spec, ["replicates=4"]), recorded, {**other, "replicates": {
        **recorded["replicates"], "3": facts}})  # fmt: skip
    assert (grown.additions, grown.breaking) == (("replicates: was 3, is 4",), ())
    fewer = compare(spec, amend_spec(spec, ["replicates=1"]), recorded, MANIFEST)
    assert fewer.breaking == ("replicates: was 3, is 1",)


def test_a_sweep_without_replicates_is_searched_alike_across_seeds_and_across_replicates():
    def across(search, replicates):
        return amend_spec(make_spec(search={"across": search}), [f"replicates={replicates}"])

    alike = compare(across("seeds", 1), across("replicates", 2), MANIFEST, MANIFEST)
    assert (len(alike.additions), len(alike.free), alike.breaking) == (1, 1, ())
    assert compare(across("seeds", 2), across("replicates", 2), MANIFEST, MANIFEST).breaking
    assert compare(across("each", 1), across("replicates", 1), MANIFEST, MANIFEST).breaking
