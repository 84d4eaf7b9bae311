"""What the tasks that prepare models look at first, and what they say; without Ray."""

import pickle
from collections import Counter
from dataclasses import replace
from datetime import date
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from orchestrator.driver.records import driver_path
from orchestrator.errors import StorageError
from orchestrator.ledger import Ledger
from orchestrator.preparation import (
    ModelCache,
    SweepInputs,
    build_workload,
    dispatch,
    model_training,
    start_building,
    train_missing,
    train_model,
    trains_in_groups,
    workloads,
)
from orchestrator.preparation.model_identity import model_tasks
from orchestrator.preparation.tasks import ONE_AFTER_ANOTHER_FLOPS
from orchestrator.preparation.workloads import measure_model
from orchestrator.spec import dated
from orchestrator.storage import LocalStorage
from tests.orchestrator.helpers import make_spec
from tests.support import tiny_architecture, tiny_model, tiny_tokenizer, tiny_workload
from trainables.config import DEFAULT_ALTERNATE
from trainables.data import build_datasets
from trainables.encoding import Form
from trainables.errors import UnlearningError
from trainables.metrics import evaluate, score_set, scoring
from trainables.plugins import PluginFile, plugin_files

SPEC = make_spec()


def arguments(tmp_path, task_or_tasks, spec=SPEC, driver=None):
    ledger = Ledger(storage=LocalStorage(tmp_path / "tiny"), sweep="tiny", driver=driver)
    return spec, build_datasets(spec.data), task_or_tasks, ModelCache(LocalStorage(tmp_path)), ledger


@pytest.fixture(scope="module")
def tasks():
    return model_tasks(SPEC, build_datasets(SPEC.data))


def test_a_worker_that_sees_another_storage_is_told_so_before_it_trains_or_measures(monkeypatch, tmp_path, tasks):
    monkeypatch.setattr(model_training, "Training", None)
    for function, task in ((train_model, tasks[0]), (build_workload, tasks)):
        with pytest.raises(StorageError, match=rf"sees no {driver_path(7)}.*every machine must see the same storage"):
            function(*arguments(tmp_path, task, driver=7))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("recomputes", "advice"), [(False, r", or set model\.gradient_checkpointing: true$"), (True, "$")]
)
def test_training_that_does_not_fit_a_gpu_says_what_to_lower(monkeypatch, tmp_path, tasks, recomputes, advice):
    def runs_out(*_, **__):
        raise torch.OutOfMemoryError("tried to allocate 2.00 GiB")

    spec = make_spec(model={"gradient_checkpointing": recomputes})
    for name in ("Training", "train_to_end"):
        with monkeypatch.context() as patch:
            patch.setattr(model_training, "Training", lambda **_: SimpleNamespace(model=None))
            patch.setattr(model_training, name, runs_out)
            said = rf"training model 'base'.*2\.00 GiB\); lower preparation\.batch_size \(now 10\){advice}"
            with pytest.raises(UnlearningError, match=said):
                train_model(*arguments(tmp_path, tasks[0], spec))


def test_measuring_that_does_not_fit_a_gpu_says_what_to_lower(monkeypatch, tmp_path, tasks):
    def runs_out(*_):
        raise torch.OutOfMemoryError("tried to allocate 2.00 GiB")

    monkeypatch.setattr(ModelCache, "fetch", lambda *_: tmp_path)
    monkeypatch.setattr(workloads, "load_model", runs_out)
    size = SPEC.evaluation.batch_size
    with pytest.raises(
        UnlearningError, match=rf"models know.*2\.00 GiB\); lower evaluation\.batch_size \(now {size}\)"
    ):
        build_workload(*arguments(tmp_path, tasks))


NOT_OF_MODELS = {"step", "status", "tokens_seen", "elapsed_s"}


def test_the_floor_is_of_each_reference_model_against_the_others():
    sets = tiny_workload(references=3).evaluation_sets
    model = tiny_model(seed=101).eval()
    (found,) = measure_model("reference-1", model, sets, reference=1, batch_size=16)
    without = replace(sets["forget"], references=sets["forget"].references[::2])
    expected, _ = evaluate(model, without, batch_size=16, step=0, tokens_seen=0, elapsed_s=0.0)
    assert (found.model, found.forget_set) == ("reference-1", "forget")
    assert found.metrics == {k: v for k, v in expected.columns().items() if k not in NOT_OF_MODELS}
    (base,) = measure_model("base", model, sets, reference=None, batch_size=16)
    assert base.metrics["gen_ex_abs"] < found.metrics["gen_ex_abs"]


def test_one_reference_model_has_no_other_to_be_measured_against():
    sets = tiny_workload(references=1).evaluation_sets
    (found,) = measure_model("reference-0", tiny_model(seed=100).eval(), sets, reference=0, batch_size=16)
    nulls = {"gen_ex", "gen_ex_abs", "gen_ex_per_token", "unlearning_quality"}
    assert {
        name for name in nulls | {"rel_ex", "performance", "population_nll"} if found.metrics[name] is None
    } == nulls


@pytest.mark.parametrize(("objective", "encoded"), [("dpo", True), ("gradient_ascent", False)])
def test_alternates_are_encoded_where_an_objective_may_need_them(objective, encoded):
    spec = make_spec(search={"space": {"learning_rate": 1e-3, "batch_size": 4, "objective": objective}})
    datasets = build_datasets(spec.data)
    alternates = workloads._alternates(spec, tiny_tokenizer(), datasets.forget_sets, Form.TEXT)
    if not encoded:
        assert alternates == {}
        return
    assert alternates.keys() == datasets.forget_sets.keys()
    for name, own in alternates.items():
        examples = datasets.forget_sets[name].forget
        assert own.example_ids == tuple(example.example_id for example in examples)
        for index, example in enumerate(examples):
            text = tiny_tokenizer().decode(own.tokens[own.offsets[index] : own.offsets[index + 1]].tolist()[1:])
            assert text == f"{example.prompt}{DEFAULT_ALTERNATE}"


def test_a_model_scores_each_set_once_before_unlearning_and_knows_what_it_knows(monkeypatch, tmp_path):
    sections = {"model": {"architecture": tiny_architecture()}, "preparation": {"epochs": 1, "references": 2}}
    spec = make_spec(**sections)
    datasets, cache = build_datasets(spec.data), ModelCache(LocalStorage(tmp_path))
    ledger, tasks = Ledger(storage=LocalStorage(tmp_path / "tiny"), sweep="tiny"), model_tasks(spec, datasets)
    for task in tasks:
        train_model(spec, datasets, task, cache, ledger)
    scored = []

    def counting(model, encoded, **options):
        scored.append((id(encoded), len(encoded)))
        return score_set(model, encoded, **options)

    monkeypatch.setattr(scoring, "score_set", counting)
    workload, measured = build_workload(spec, datasets, tasks, cache, ledger)
    distinct = 2 * 2 + 2  # two forget sets with their populations, held-out and retained examples
    assert Counter(Counter(scored).values()) == {3: distinct}, "once by each of three models"
    monkeypatch.setattr(workloads, "ScoredOnce", lambda: score_set)
    again, expected = build_workload(spec, datasets, tasks, cache, ledger)
    assert measured == expected
    for name, sets in workload.evaluation_sets.items():
        others = again.evaluation_sets[name]
        np.testing.assert_array_equal(sets.base_logp_N, others.base_logp_N)
        np.testing.assert_array_equal(sets.reference_logp_SN, others.reference_logp_SN)
        assert sets.max_heldout_nll == others.max_heldout_nll


def test_plugin_files_travel_with_what_trials_share(monkeypatch, tmp_path):
    monkeypatch.setattr(plugin_files, "_WAITING", {})
    file = PluginFile(name="mine.py", path="/mine.py", source=b"1 / 0")
    sections = {"model": {"architecture": tiny_architecture()}, "preparation": {"epochs": 1, "references": 0}}
    spec = make_spec(**sections).with_plugins((file,))
    datasets, cache = build_datasets(spec.data), ModelCache(LocalStorage(tmp_path))
    ledger, tasks = Ledger(storage=LocalStorage(tmp_path / "tiny"), sweep="tiny"), model_tasks(spec, datasets)
    for task in tasks:
        train_model(spec, datasets, task, cache, ledger)
    sent = pickle.dumps(build_workload(spec, datasets, tasks, cache, ledger)[0])
    assert plugin_files._WAITING == {}
    assert pickle.loads(sent).plugins == (file,)
    assert list(plugin_files._WAITING) == [file.sha256]
    assert [pickle.loads(pickle.dumps(other)).plugins for other in (spec, dated(spec, date(2026, 1, 1)))] == [
        (file,)
    ] * 2


def test_what_trials_share_is_made_again_however_often_its_machine_vanishes(monkeypatch, tmp_path, tasks):
    asked = {}

    class Task:
        def options(self, **options):
            asked.update(options)
            return self

        def remote(self, *given):
            asked["given"] = given
            return ["workload", "baselines"]

    monkeypatch.setattr(
        dispatch, "remote_on_a_share", lambda function, _: Task() if function.name == "build_workload" else 0
    )
    given = arguments(tmp_path, tasks)
    assert start_building(*given) == ("workload", "baselines")
    assert asked == {"num_returns": 2, "max_retries": -1, "given": given}


class Trained:
    """Ray tasks that train at once, and say so."""

    def __init__(self):
        self.asked = []

    def remote(self, _spec, _datasets, group, *_, **__):
        self.asked.append([task.role for task in group])
        return f"reference {len(self.asked)}"


@pytest.mark.parametrize(
    ("flops", "asked"),
    [
        (None, [["base"], ["reference-1"]]),
        (ONE_AFTER_ANOTHER_FLOPS, [["base"], ["reference-1"]]),
        (0.0, [["base", "reference-1"]]),
    ],
)
def test_small_models_are_trained_by_one_worker_and_others_side_by_side(monkeypatch, tmp_path, tasks, flops, asked):
    trained = Trained()
    monkeypatch.setattr(dispatch, "remote_on_a_share", lambda *_: trained)
    ready = trained_missing(monkeypatch, tmp_path, [tasks], trained, flops=flops)
    assert trained.asked == asked
    assert ready == ["reference-0", "base", "reference-1"], "what the cache holds is ready at once"


def trained_missing(monkeypatch, tmp_path, replicates, trained, *, spec=SPEC, flops=None):
    """Train what a cache that has the first reference model lacks, and return the models as they become ready."""
    ready = []
    monkeypatch.setattr(dispatch, "fetch", lambda reference, _: [None] * len(trained.asked[int(reference[-1]) - 1]))
    _, datasets, _, _, ledger = arguments(tmp_path, replicates)
    train_missing(
        [SweepInputs(spec=spec, datasets=datasets, tasks=own, workload_hash="workload") for own in replicates],
        SimpleNamespace(holds=lambda key: key == replicates[0][1].key, tidy=lambda _: None),
        ledger,
        flops=flops,
        on_trained=ready.append,
        wait=lambda groups: next(iter(groups)),
    )
    return ready


class TrainedByGroups(Trained):
    """Tasks that train by a group of workers."""

    def remote(self, parts, *_):
        return super().remote(None, None, [task for part in parts for task in part.tasks])


@pytest.mark.parametrize(
    ("flops", "room", "asked"),
    [
        (None, 1, [["base", "reference-1", "base", "reference-0"]]),
        (ONE_AFTER_ANOTHER_FLOPS, 3, [["base", "reference-0"], ["reference-1"], ["base"]]),
        (None, 0, [["base", "reference-1", "base", "reference-0"]]),  # a cluster that is to grow yet
        (None, 9, [["base"], ["reference-1"], ["base"], ["reference-0"]]),
    ],
)
def test_models_of_wide_sweeps_are_dealt_to_as_many_groups_as_there_is_room_for(
    monkeypatch, tmp_path, tasks, flops, room, asked
):
    trained, options = TrainedByGroups(), {}
    monkeypatch.setattr(dispatch.ray, "remote", lambda **given: options.update(given) or (lambda _: trained))
    monkeypatch.setattr(dispatch.ray, "get_runtime_context", lambda: SimpleNamespace(get_node_id=lambda: "ab" * 28))
    monkeypatch.setattr(dispatch, "capacity", lambda: SimpleNamespace(trials=lambda _: room))
    others = [replace(task, key=f"{task.key}-1", replicate=1) for task in tasks[:2]]
    spec = make_spec(resources={"workers_per_trial": 2, "cpus_per_trial": 2})
    ready = trained_missing(monkeypatch, tmp_path, [tasks, others], trained, spec=spec, flops=flops)
    assert trained.asked == asked
    assert sorted(ready) == [
        "base", "base of replicate 1", "reference-0", "reference-0 of replicate 1", "reference-1",
    ]  # fmt: skip
    assert (options["num_cpus"], options["max_retries"]) == (0, 0), "workers take what models take, and it retries"


@pytest.mark.parametrize(
    ("sections", "flops", "together"),
    [
        ({"resources": {"workers_per_trial": 2}}, None, True),
        ({"resources": {"workers_per_trial": 2}}, ONE_AFTER_ANOTHER_FLOPS / 2, False),
        ({}, None, False),
        (
            {
                "resources": {"workers_per_trial": 2},
                "model": {"pretrained": "some/model", "architecture": None},
                "preparation": {"epochs": 0, "references": 0},
            },
            None,
            False,
        ),
    ],
)
def test_only_large_models_that_are_trained_at_all_take_several_workers(sections, flops, together):
    assert trains_in_groups(make_spec(**sections), flops) is together
