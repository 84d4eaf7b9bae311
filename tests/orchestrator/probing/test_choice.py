"""Which points are probed, on which models, and what of it is left to do."""

import pytest

from orchestrator.errors import SweepError
from orchestrator.frontier import frontiers
from orchestrator.ledger import Ledger
from orchestrator.points import chosen_points, curve_points, names_of_points
from orchestrator.probing import Choice, probe_sweep
from orchestrator.probing import probing as probing_module
from orchestrator.probing.choice import choose_points
from orchestrator.probing.probing import probes_of
from orchestrator.probing.subjects import jobs_left, subjects_of
from orchestrator.spec import stored_spec
from orchestrator.storage import LocalStorage
from tests.orchestrator.helpers import make_spec, measured, write_control, write_probe, write_sweep
from trainables.errors import UnlearningError
from trainables.probes import PROBES


@pytest.fixture(scope="module")
def sweep(written_sweeps):
    return Ledger(storage=LocalStorage(written_sweeps / "first"), sweep="first")


@pytest.fixture
def own(tmp_path):
    return write_sweep(tmp_path, make_spec())


def points_of(rows):
    return [(row["trial_id"], row["step"]) for row in rows]


def chosen(sweep, **choice):
    return [(point.trial_id, point.step) for point in choose_points(sweep, Choice(**choice))]


def test_by_default_it_is_what_a_user_would_choose_on_each_frontier(sweep):
    expected = set()
    for frontier in frontiers(sweep):
        reached = next(target.cheapest for target in frontier.targets if target.cheapest is not None)
        for row in (reached, frontier.knee, frontier.priced or frontier.points[0]):
            if row["step"]:
                expected.add((row["trial_id"], row["step"]))
    assert set(chosen(sweep)) == expected
    assert len(chosen(sweep)) == len(expected) > 2


def test_a_point_that_is_two_things_is_named_once(sweep):
    for frontier in frontiers(sweep):
        points = points_of(chosen_points(frontier).values())
        assert len(set(points)) == len(points) > 0
    names = names_of_points(frontiers(sweep))
    assert {"cheap", "as never trained"} & set(names.values())


def test_the_base_model_is_no_point(sweep):
    assert all(row["step"] > 0 for frontier in frontiers(sweep) for row in curve_points(frontier, None))
    assert any(row["step"] == 0 for frontier in frontiers(sweep) for row in frontier.points)


@pytest.mark.parametrize("most", [1, 2, 3, 4, 100])
def test_of_a_frontier_as_many_points_as_asked_for_are_taken_with_knee_and_ends(sweep, most):
    for frontier in frontiers(sweep):
        whole, some = points_of(curve_points(frontier, None)), points_of(curve_points(frontier, most))
        assert len(some) == min(most, len(whole))
        assert some == [point for point in whole if point in some]
        if most >= 3:
            assert {whole[0], whole[-1]} <= set(some)
    assert set(chosen(sweep, on_frontier=True, most=most)) == {
        point for frontier in frontiers(sweep) for point in points_of(curve_points(frontier, most))
    }


def test_one_forget_set_can_be_chosen(sweep):
    sets = {row["trial_id"]: row["forget_set"] for row in sweep.trials()}
    assert {sets[trial] for trial, _ in chosen(sweep, forget_set="people")} == {"people"}
    assert {sets[trial] for trial, _ in chosen(sweep, best="exposure<=8", forget_set="people")} == {"people"}


def test_a_point_can_be_named(sweep):
    trial_id = sweep.trials()[0]["trial_id"]
    assert chosen(sweep, trial=trial_id[:8], step=2) == [(trial_id, 2)]


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ({"on_frontier": True, "best": "exposure<=2"}, "by one of --frontier, --best, or --trial with --step"),
        ({"best": "exposure<=2", "step": 2}, "by one of"),
        ({"trial": "a"}, "give both"),
        ({"step": 3}, "give both"),
        ({"trial": "a", "step": 3, "forget_set": "verses"}, "belongs to --frontier and --best"),
        ({"forget_set": "verse"}, "did you mean 'verses'?"),
        ({"trial": "", "step": 2}, "several trials begin so"),
        ({"best": "exposure<=-1"}, "none of"),
    ],
)
def test_a_choice_that_cannot_be_is_refused(sweep, choice, said):
    with pytest.raises(SweepError, match=said):
        choose_points(sweep, Choice(**choice))


def test_step_0_is_refused_as_the_control_that_it_is(sweep):
    with pytest.raises(SweepError, match="this is the base model"):
        chosen(sweep, trial=sweep.trials()[0]["trial_id"], step=0)


def test_a_sweep_without_a_completed_evaluation_has_no_point(tmp_path):
    ledger = write_sweep(tmp_path, make_spec())
    for path in [*ledger.storage.files("evaluations", ""), *ledger.storage.files("examples", "")]:
        ledger.storage.remove(path)
    with pytest.raises(SweepError, match="has no completed evaluation after step 0"):
        choose_points(ledger, Choice())


def test_each_forget_set_has_its_controls_once_and_before_its_points(sweep):
    points = choose_points(sweep, Choice(on_frontier=True))
    subjects = subjects_of(sweep, stored_spec(sweep), points)
    for name in ("verses", "people"):
        roles = [subject.role for subject in subjects if subject.forget_set == name]
        assert roles[:3] == ["base", "reference-0", "reference-1"]
        assert set(roles[3:]) == {"unlearned"}
    keys = [subject.key for subject in subjects]
    assert len(set(keys)) == len(keys) == len(points) + 6


def test_what_is_done_is_not_left_and_other_settings_are(own):
    point = choose_points(own, Choice(forget_set="verses"))[0]
    subjects = subjects_of(own, stored_spec(own), [point])
    wanted = {"quantization": {"bits": [4]}, "rewording": {}}
    assert [len(job.probes) for job in jobs_left(own, subjects, wanted)] == [2] * 4
    write_probe(own, point.trial, point.step, [measured()], settings={"bits": [4]})
    write_control(own, "base", [measured()], settings={"bits": [8]})
    write_control(own, "reference-0", [measured()], settings={"bits": [4]}, forget_set="people")
    left = {job.subject.role: list(job.probes) for job in jobs_left(own, subjects, wanted)}
    both = ["quantization", "rewording"]
    assert left == {"base": both, "reference-0": both, "reference-1": both, "unlearned": ["rewording"]}
    assert jobs_left(own, subjects[-1:], {"quantization": {"bits": [4]}}) == []


def test_probes_are_those_that_are_asked_for_or_of_the_spec_or_a_default_set(own):
    spec = make_spec(probes={"quantization": {"bits": [4]}})
    assert list(probes_of(make_spec(), [], [], own)) == ["relearning", "quantization", "rewording"]
    assert list(probes_of(spec, [], [], own)) == ["quantization"]
    assert list(probes_of(spec, ["rewording"], [], own)) == ["rewording"]
    assert probes_of(spec, ["quantization"], [], own)["quantization"]["bits"] == [4]
    assert probes_of(make_spec(), ["quantization"], [], own)["quantization"]["bits"] == [8, 4]
    with pytest.raises(UnlearningError, match="did you mean 'quantization'"):
        probes_of(spec, ["quantisation"], [], own)


def test_an_override_changes_a_setting_and_not_which_probes_are_tried(own):
    changed = probes_of(make_spec(), [], ["probes.quantization.bits=[4]"], own)
    assert list(changed) == ["relearning", "quantization", "rewording"]
    assert changed["quantization"]["bits"] == [4]
    spec = make_spec(probes={"rewording": {}})
    for names in ([], ["rewording"]):
        with pytest.raises(SweepError, match="rewording is tried, and 'quantization' is not; name it"):
            probes_of(spec, names, ["probes.quantization.bits=[4]"], own)
    for outside in ("probes=x", "probe.quantization=1"):
        with pytest.raises(SweepError, match="only settings below 'probes'"):
            probes_of(spec, [], [outside], own)


def test_models_that_are_cut_into_shards_are_not_probed(tmp_path):
    wide = {"gpus_per_trial": 2, "workers_per_trial": 2, "parallelism": "fsdp"}
    ledger = write_sweep(tmp_path, make_spec(resources=wide))
    with pytest.raises(SweepError, match=r"cut their model into shards .*\(unlearn-sweep export\)"):
        probe_sweep(ledger, Choice(), executor="inline")


def test_a_probe_whose_package_is_missing_is_refused_before_any_work(own, monkeypatch):
    spec = make_spec(probes={"tasks": {"tasks": ["arc_easy"]}})
    monkeypatch.setattr(probing_module, "find_spec", lambda name: None if name == PROBES["tasks"].requires[0] else name)
    with pytest.raises(SweepError, match=r"pip install 'unlearn-sweep\[tasks\]'"):
        probes_of(spec, [], [], own)
