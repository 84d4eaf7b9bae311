"""What a sweep will cost, counted by hand."""

import itertools
from collections import Counter
from dataclasses import replace
from functools import partial
from io import StringIO

import numpy as np
import pytest
import torch
from rich.console import Console
from transformers import AutoConfig, AutoModelForCausalLM

from orchestrator.cli.tables import plan_table
from orchestrator.plan import fits_here, measure_overheads, plan_sweep, step_times, time_steps, typical_lengths
from orchestrator.plan.evaluated_examples import examples_scored, known_sizes
from orchestrator.plan.overheads import overheads_of
from orchestrator.plan.set_summaries import SetSummary
from orchestrator.plan.step_times import StepTimes
from orchestrator.plan.timing import MEASURING_LIMIT_S, BudgetedTimer
from orchestrator.preparation import SweepInputs, count_sets
from orchestrator.spec import ResourcesConfig, amend_spec, load_spec
from tests.orchestrator.helpers import make_spec
from tests.support import tiny_architecture, tiny_encoded
from trainables.data import SetSizes, Sizes

PEOPLE = {"distribution": "out", "canary": "personal_data", "size": 4, "population": 8}
FIXED = {"batch_size": 4, "learning_rate": 1e-3}


def plan(spec, concurrent_trials=3):
    return plan_sweep(spec, concurrent_trials=concurrent_trials)


def test_the_counts_of_a_small_spec():
    result = plan(make_spec(seeds=[0, 1, 2], steps=[2, 5, 9], preparation={"references": 3}))
    assert (result.strata, result.trials_per_stratum, result.trials) == (6, 4, 24)
    assert (result.step_values, result.evaluations) == (3, 72)
    assert result.ascent_steps == 24 * 9
    assert result.separate_run_ascent_steps == 24 * (2 + 5 + 9)
    assert result.models_to_train == 4
    assert result.training_steps == 4 * 2 * ((100 + 4 + 4) // 10)
    assert result.concurrent_trials == 3
    assert {value for name, value in result.as_json().items() if name.startswith(("estimated_", "timed_"))} == {None}
    assert not result.schedule_depends_on_total


@pytest.mark.parametrize("steps", [[1], [5, 10, 20, 50], [0, 2, 4, 8]])
def test_the_saving_is_sum_over_max(steps):
    assert plan(make_spec(steps=steps)).saving == pytest.approx(sum(steps) / max(steps))


def test_where_a_schedule_needs_the_total_nothing_is_shared():
    space = {**FIXED, "learning_rate": [1e-4, 1e-3], "schedule": "linear"}
    result = plan(make_spec(steps=[2, 5, 9], search={"sampler": "grid", "trials": None, "space": space}))
    assert result.schedule_depends_on_total
    assert (result.trials_per_stratum, result.trials, result.evaluations) == (6, 12, 12)
    assert result.ascent_steps == result.separate_run_ascent_steps == 2 * 2 * (2 + 5 + 9)
    assert result.saving == 1


def table_of(result):
    console = Console(width=100, record=True, file=StringIO())
    console.print(plan_table(result))
    return " ".join(console.export_text().split())


def test_the_sets_of_a_plan_have_a_line_each_in_80_columns():
    one = SetSummary(forget_set="personal_data", part="population", examples=96, median_tokens=32.5, longest_tokens=41)
    console = Console(width=80, record=True, file=StringIO())
    console.print(plan_table(replace(plan(make_spec()), sets=(one,))))
    assert "personal_data: population, never trained │" in console.export_text()


@pytest.mark.parametrize(
    ("schedule", "dependent"),
    [("cosine", "cosine"), (["linear", "cosine", "inverse_sqrt"], "cosine, linear"), ("inverse_sqrt", None)],
)
def test_the_table_says_what_a_schedule_of_the_total_costs(schedule, dependent):
    result = plan(make_spec(steps=[2, 5, 9], search={"space": {**FIXED, "schedule": schedule}}))
    assert result.as_json()["schedule_depends_on_total"] == (dependent is not None)
    said = table_of(result)
    assert ("The step axis is not shared" in said) == (dependent is not None)
    if dependent is not None:
        assert f"under schedule {dependent}, which depends on the total number of steps" in said
        assert "each step value is a trial of its own, from step 0, with one evaluation instead of 3" in said


def test_repeated_examples_and_distractors_count_as_training():
    people = {
        "distribution": "out", "canary": "personal_data", "size": 4, "population": 8,
        "repetitions": 5, "distractors": 30,
    }  # fmt: skip
    result = plan(make_spec(data={"forget_sets": {"people": people}}, preparation={"references": 0}))
    assert result.training_steps == 2 * ((100 + 4 * 5 + 30) // 10)


TIMES = StepTimes(device="H100", training_step_s=3, ascent_step_s=5, evaluation_s=7)


@pytest.mark.parametrize(
    ("resources", "gpus", "cpus", "training_gpus", "training_cpus", "rounds"),
    [
        ({}, 0, 1, 0, 1, 2),  # four models, three at once
        ({"gpus_per_trial": 0.25, "cpus_per_trial": 2}, 1, 2, 1, 2, 2),
        # each of four workers takes 3 of 10 examples, in 0.3 of the time
        ({"gpus_per_trial": 4, "cpus_per_trial": 8, "workers_per_trial": 4}, 4, 8, 4 * 0.3, 8 * 0.3, 2 * 0.3),
    ],
)
def test_hours_count_all_that_trials_and_trainings_take_of_gpus_whole_ones(
    resources, gpus, cpus, training_gpus, training_cpus, rounds
):
    spec = make_spec(resources=resources, preparation={"references": 3})
    result = plan_sweep(spec, concurrent_trials=3, times=TIMES)
    model_s, trials_s = 2 * ((100 + 4 + 4) // 10) * 3, 8 * 9 * 5 + 8 * 4 * 7
    assert result.timed_on == "H100"
    assert result.estimated_preparation_s == pytest.approx(rounds * model_s + 4 * 2 * 7), (
        "and each model is measured on both sets"
    )
    assert result.estimated_sweep_s == pytest.approx(trials_s / 3)
    assert result.estimated_evaluation_s == pytest.approx(8 * 4 * 7 / 3)
    assert result.estimated_gpu_hours == pytest.approx((4 * model_s * training_gpus + trials_s * gpus) / 3600)
    assert result.estimated_cpu_hours == pytest.approx((4 * model_s * training_cpus + trials_s * cpus) / 3600)


@pytest.mark.parametrize(("workers", "flops", "training_s"), [(1, None, 2), (1, 0.0, 4), (4, 0.0, 4), (4, None, 0.6)])
def test_small_models_of_a_replicate_are_trained_one_after_another_by_one_worker(workers, flops, training_s):
    spec = make_spec(resources={"workers_per_trial": workers, "cpus_per_trial": 4}, preparation={"references": 3})
    result = plan_sweep(spec, concurrent_trials=3, times=replace(TIMES, evaluation_s=0), training_flops=flops)
    model_s = 2 * ((100 + 4 + 4) // 10) * 3
    assert result.estimated_preparation_s == pytest.approx(training_s * model_s)


def test_start_up_and_report_are_parts_of_the_time_by_what_imports_take_here():
    spec = make_spec(preparation={"references": 0})
    bare = plan_sweep(spec, concurrent_trials=2, times=TIMES)
    assert (bare.estimated_start_s, bare.estimated_report_s) == (0, 0)
    assert bare.estimated_total_s == bare.estimated_preparation_s + bare.estimated_sweep_s
    once, twice = (
        plan_sweep(spec, concurrent_trials=2, times=TIMES, overheads=overheads_of(unit_s)) for unit_s in (5, 10)
    )
    for part in ("start", "preparation", "sweep", "evaluation", "report", "total"):
        least, one, two = (getattr(p, f"estimated_{part}_s") for p in (bare, once, twice))
        assert one > least
        assert two - one == pytest.approx(one - least), part
    parts = (once.estimated_start_s, once.estimated_preparation_s, once.estimated_sweep_s, once.estimated_report_s)
    assert once.estimated_total_s == pytest.approx(sum(parts))
    said = table_of(once)
    for part in ("estimated start-up", "estimated preparation", "of that, evaluations", "estimated report", "in all"):
        assert part in said


def test_the_unit_is_measured_in_a_new_process(monkeypatch):
    ran = []
    monkeypatch.setattr("subprocess.run", lambda command, **_: ran.append(command))
    assert measure_overheads().start_s > 0
    assert ran[0][1:] == ["-c", "import torch, transformers, accelerate, ray, optuna"]


def test_a_plan_shows_how_large_sets_are_and_how_long_their_examples():
    spec = make_spec(data={"forget_sets": {"people": PEOPLE | {"distractors": 3}}})
    inputs = SweepInputs.of(spec)
    sets = {(s.forget_set, s.part): s for s in plan_sweep(spec, concurrent_trials=1, inputs=inputs).sets}
    assert {key: one.examples for key, one in sets.items()} == {
        ("people", "forget"): 4, ("people", "population"): 8, ("people", "distractors"): 3,
        (None, "retain"): 100, (None, "heldout"): 10,
    }  # fmt: skip
    lengths = np.diff(inputs.encoded["data.heldout"].offsets)
    heldout = sets[None, "heldout"]
    assert (heldout.median_tokens, heldout.longest_tokens) == (np.median(lengths), lengths.max())
    assert all(one.longest_tokens >= one.median_tokens > 1 for one in sets.values())
    said = table_of(plan_sweep(spec, concurrent_trials=1, inputs=inputs))
    assert f"people: distractors, retained │ 3 │ {sets['people', 'distractors'].median_tokens:g} │" in said
    unread = plan_sweep(spec, concurrent_trials=1)
    assert [(s.examples, s.median_tokens) for s in unread.sets] == [(s.examples, None) for s in sets.values()]
    assert unread.as_json()["sets"][0] == {
        "forget_set": "people", "part": "forget", "examples": 4, "median_tokens": None, "longest_tokens": None,
    }  # fmt: skip


def test_the_table_says_that_gpu_hours_are_an_upper_bound():
    result = plan_sweep(make_spec(resources={"gpus_per_trial": 0.5}), concurrent_trials=2, times=TIMES)
    assert "estimated GPU-hours, at most" in table_of(result)


@pytest.mark.parametrize(
    ("settings", "cpus", "gpus", "fits"),
    [
        ({}, 8, 0, 8),
        ({"cpus_per_trial": 16}, 8, 0, 1),
        ({"gpus_per_trial": 0.25}, 8, 1, 4),
        ({"gpus_per_trial": 1}, 8, 0, 8),  # the cluster's GPUs are elsewhere
        ({"cpus_per_trial": 0.1}, 1, 0, 10),
    ],
)
def test_what_fits_here_is_bound_by_cpus_and_gpus(monkeypatch, settings, cpus, gpus, fits):
    monkeypatch.setattr("os.cpu_count", lambda: cpus)
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    assert fits_here(ResourcesConfig(**settings)) == fits


def timed(spec, lengths=None, **options):
    return time_steps(spec, lengths, sizes=count_sets(spec), **options)


def quick_clock():
    """A clock that goes on by a millisecond whenever somebody looks."""
    return partial(next, (tick / 1000 for tick in itertools.count()))


def test_a_worker_is_timed_on_its_share_of_a_trial(monkeypatch):
    passes = []
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    real = step_times.collate
    monkeypatch.setattr(step_times, "collate", lambda e, part, **k: (passes.append(len(part)), real(e, part, **k))[1])
    space = {"batch_size": 4, "learning_rate": 1e-3, "micro_batch_size": 3}
    architecture = tiny_architecture()
    for workers, expected in ((1, {10, 2}), (2, {10, 2}), (4, {10, 1})):  # 10: a training step
        passes.clear()
        sections = {"search": {"space": space}, "model": {"architecture": architecture}}
        times = timed(make_spec(resources={"workers_per_trial": workers}, **sections), clock=quick_clock())
        assert set(passes) == expected | {1}  # at first
        assert len(passes) == 2 + 4 + 2 + 4 * (2 if workers == 1 else 1)
        assert not times.cut_short
        assert times.device == "cpu"
        assert min(times.training_step_s, times.ascent_step_s, times.evaluation_s) > 0


def test_an_evaluation_is_timed_with_all_that_it_scores_distractors_included(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(BudgetedTimer, "evaluation_s", lambda self, work, examples, **_: 1.0)
    people = {"distribution": "out", "canary": "personal_data", "size": 4, "population": 8}
    found = []
    for distractors in (0, 32):
        data = {"forget_sets": {"people": people | {"distractors": distractors}}}
        spec = make_spec(data=data, model={"architecture": tiny_architecture()}, evaluation={"batch_size": 16})
        found.append(timed(spec, clock=quick_clock()).evaluation_s)
    assert found == pytest.approx([(4 + 8 + 10 + 10) / 16, (4 + 8 + 32 + 10 + 10) / 16])


def test_buckets_are_counted_as_sets_of_a_third_of_the_examples():
    given = [
        "preparation.references=2", "data.forget_sets.verses.size=9",
        "data.forget_sets.verses.buckets=[memorization, difficulty]",
    ]  # fmt: skip
    spec = amend_spec(make_spec(steps=[2, 5, 9]), given)
    result = plan(spec)
    assert (result.strata, result.trials, result.evaluations) == (8, 8 * 4, 8 * 4 * 3)
    without = amend_spec(spec, ["data.forget_sets.verses.buckets=[]"])
    assert result.models_to_train == plan(without).models_to_train
    assert result.training_steps == plan(without).training_steps
    scored = [8 + 10 + 10 + forget for forget in (9, *[3] * 6, 4)]  # population, held-out, retain and forget
    assert examples_scored(spec, known_sizes(spec, count_sets(spec))) == pytest.approx(sum(scored) / len(scored))
    known = known_sizes(spec, count_sets(spec))
    assert examples_scored(without, known) == sum((scored[0], scored[-1])) / 2
    times = StepTimes(device="cpu", training_step_s=0.0, ascent_step_s=0.0, evaluation_s=1.0)
    measuring = [plan_sweep(own, concurrent_trials=1, times=times).estimated_preparation_s for own in (spec, without)]
    assert measuring == [3 * 8, 3 * 2]


ANSWERS = {"forget_sets.forget10": (1, 5), "evaluation_sets.retained": (1, 5), "evaluation_sets.real_authors": (0, 3),
           "evaluation_sets.world_facts": (0, 3)}  # fmt: skip
"""How many paraphrases and wrong answers the data of TOFU has to each prompt."""


def test_every_answer_that_an_evaluation_scores_is_counted():
    spec = load_spec("tofu")
    known = known_sizes(spec, count_by_hand(spec))
    assert examples_scored(spec, known) == 400 + 200 + 200 + 128 + 400 + 100 + 117, "without other answers"
    for where, (paraphrases, wrong) in ANSWERS.items():
        size = known.get(f"data.{where}", 400)
        known |= {f"data.{where} (paraphrase)": size} if paraphrases else {}
        known |= {f"data.{where} (perturbed {number})": size for number in range(1, wrong + 1)}
    assert examples_scored(spec, known) == 6996
    known |= {"data.forget_sets.forget10 (alternate)": 400}
    assert examples_scored(spec, known) == 6996, "an objective trains on these"
    plain = amend_spec(spec, ["evaluation.metrics=[exposure_tail, probability]"])
    assert examples_scored(plain, known) == 400 + 200 + 200 + 128, "of which no metric looks at answers or further sets"
    further = amend_spec(spec, ["evaluation.metrics=[{probability: {of: [real_authors]}}]"])
    assert examples_scored(further, known) == 400 + 200 + 200 + 128 + 100


def count_by_hand(spec):
    own = spec.data.forget_sets["forget10"]
    return Sizes(
        retain=spec.data.retain,
        heldout=spec.data.heldout,
        forget_sets={"forget10": SetSizes(forget=own.size, population=own.population, distractors=0)},
        evaluation={name: one.size for name, one in spec.data.evaluation_sets.items()},
    )


def test_an_evaluation_is_timed_with_the_answers_that_it_scores(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(BudgetedTimer, "evaluation_s", lambda self, work, examples, **_: 1.0)
    data = {"forget_sets": {"people": PEOPLE}}
    evaluation = {"batch_size": 16, "metrics": ["truth_ratio"]}
    spec = make_spec(data=data, model={"architecture": tiny_architecture()}, evaluation=evaluation)
    answers = {f"data.forget_sets.people (perturbed {number})": tiny_encoded(4) for number in (1, 2)}
    assert timed(spec, encoded=answers, clock=quick_clock()).evaluation_s == (4 + 8 + 10 + 10 + 4 + 4) / 16


def test_in_bf16_no_cast_is_kept_from_step_to_step(monkeypatch):
    """As in trials, where each forward pass begins with casts of its own."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    noted = set()

    def noting(function):
        def noted_too(*arguments, **keywords):
            noted.add((torch.is_autocast_enabled("cpu"), torch.is_autocast_cache_enabled()))
            return function(*arguments, **keywords)

        return noted_too

    for name in ("score_batch", "score_set"):
        monkeypatch.setattr(step_times, name, noting(getattr(step_times, name)))
    timed(make_spec(model={"architecture": tiny_architecture(), "precision": "bf16"}), clock=quick_clock())
    assert noted == {(True, False), (False, True)}, "ascent and evaluations, and training, which is in fp32"


def test_steps_are_timed_on_examples_as_long_as_those_of_the_data(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    shapes = []
    score_batch = step_times.score_batch
    monkeypatch.setattr(
        step_times, "score_batch", lambda m, b: (shapes.append(tuple(b["labels"].shape)), score_batch(m, b))[1]
    )
    evaluated = []
    score_set = step_times.score_set
    monkeypatch.setattr(
        step_times, "score_set", lambda m, e, **k: (evaluated.append(np.diff(e.offsets)), score_set(m, e, **k))[1]
    )
    spec = make_spec(search={"space": FIXED}, model={"architecture": tiny_architecture()})
    inputs = SweepInputs.of(spec)
    lengths = typical_lengths(inputs)
    timed(inputs.spec, lengths, clock=quick_clock())
    probes = {(1, lengths.training), (1, lengths.forget)}
    assert set(shapes) - probes == {(10, lengths.training), (4, lengths.forget)}
    assert {int(length) for one in evaluated for length in one} == {lengths.scored}


def test_lengths_are_those_of_batches_as_they_are_computed():
    inputs = SweepInputs.of(make_spec(search={"space": FIXED}))
    lengths = typical_lengths(inputs)
    forget = [np.diff(inputs.encoded[f"data.forget_sets.{name} (forget)"].offsets) for name in ("verses", "people")]
    assert lengths.forget == round(np.mean([np.quantile(own, 4 / 5) for own in forget])), "the longest of a batch of 4"
    scored = np.concatenate([np.diff(encoded.offsets) for encoded in inputs.encoded.values()])
    assert lengths.scored == round(scored.mean())
    retained = np.diff(inputs.retained["data.retain"].offsets)
    assert np.median(retained) < lengths.training <= max(retained.max(), *(own.max() for own in forget))


@pytest.mark.parametrize(("recomputes", "retains"), [(False, False), (True, False), (False, True)])
def test_a_step_is_timed_as_trials_take_it(monkeypatch, recomputes, retains):
    noted = []
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    score_batch, score_set = step_times.score_batch, step_times.score_set

    def noting(function, *arguments, **keywords):
        model, encoded = arguments
        examples = len(encoded) if function is score_set else len(encoded["labels"])
        recomputing = any(getattr(module, "gradient_checkpointing", False) for module in model.modules())
        noted.append((examples, model.training, recomputing))
        return function(*arguments, **keywords)

    monkeypatch.setattr(step_times, "score_batch", partial(noting, score_batch))
    monkeypatch.setattr(step_times, "score_set", partial(noting, score_set))
    objectives = ["gradient_ascent", *(["gradient_difference"] if retains else [])]
    space = {"batch_size": 4, "learning_rate": 1e-3, "objective": objectives}
    model = {"architecture": tiny_architecture(), "gradient_checkpointing": recomputes}
    timed(make_spec(search={"space": space}, model=model), clock=quick_clock())
    passes = Counter(noted)
    assert passes[10, True, recomputes] == 4, "training steps"
    assert passes[4, True, recomputes] == 4 * (1 + retains), "ascent steps"
    assert passes[32, False, recomputes] == 4, "evaluations"


class SlowModel:
    """A clock that passes, each of their examples, and updates of the weights take on by so many seconds."""

    def __init__(self, monkeypatch, *, step_s, example_s, update_s=0.0):
        self.now, self.scored = 0.0, []

        def noting(function, *arguments, **keywords):
            found = function(*arguments, **keywords)
            examples = len(arguments[1]) if function is score_set else len(arguments[1]["labels"])
            self.scored.append(examples)
            self.now += step_s + example_s * examples
            return found

        def updating(optimizer):
            self.now += update_s

        score_batch, score_set = step_times.score_batch, step_times.score_set
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)
        monkeypatch.setattr(step_times, "score_batch", partial(noting, score_batch))
        monkeypatch.setattr(step_times, "score_set", partial(noting, score_set))
        monkeypatch.setattr("torch.optim.AdamW.step", updating)

    def clock(self):
        return self.now


@pytest.mark.parametrize(
    ("step_s", "example_s", "cut_short"), [(0.0, 0.001, False), (0.5, 0.25, True), (0.0, 1.0, True), (0.0, 2.0, True)]
)
def test_measuring_has_a_limit_and_reckons_with_parts_of_a_batch(monkeypatch, step_s, example_s, cut_short):
    model = SlowModel(monkeypatch, step_s=step_s, example_s=example_s)
    spec = make_spec(search={"space": FIXED}, model={"architecture": tiny_architecture()})
    times = timed(spec, clock=model.clock)
    assert model.now <= MEASURING_LIMIT_S
    assert times.cut_short is cut_short
    assert times.training_step_s == pytest.approx(step_s + 10 * example_s)
    assert times.ascent_step_s == pytest.approx(step_s + 4 * example_s)
    assert times.evaluation_s == pytest.approx(step_s + 32 * example_s)


@pytest.mark.parametrize(("example_s", "update_s"), [(30.0, 0.0), (6.0, 3.0), (3.0, 2.0)])
def test_what_takes_longer_than_the_limit_is_timed_once(monkeypatch, example_s, update_s):
    """Of an example that has begun the end is waited for; the others follow from it."""
    model = SlowModel(monkeypatch, step_s=0.0, example_s=example_s, update_s=update_s)
    spec = make_spec(search={"space": FIXED}, model={"architecture": tiny_architecture()})
    times = timed(spec, clock=model.clock)
    assert (model.scored[:1], times.cut_short) == ([1], True)
    assert model.scored.count(1) == len(model.scored) <= 3
    passes, update_s = (1, update_s) if len(model.scored) > 1 else (3, 0)
    assert times.training_step_s == pytest.approx(10 * passes * example_s + update_s)
    assert times.ascent_step_s == pytest.approx(4 * passes * example_s + update_s)
    assert times.evaluation_s == pytest.approx(32 * example_s)


def test_what_a_pass_takes_however_few_tokens_it_has_is_not_counted_for_every_example(monkeypatch):
    """Of a step that is too slow only one example can be timed, most of which may be the reading of the weights."""
    model = SlowModel(monkeypatch, step_s=1.9, example_s=0.1, update_s=2.0)
    spec = make_spec(
        search={"space": FIXED}, model={"architecture": tiny_architecture()}, preparation={"batch_size": 100}
    )
    times = timed(spec, clock=model.clock)
    assert times.cut_short
    assert max(model.scored) < 100
    assert model.now <= MEASURING_LIMIT_S
    assert times.training_step_s == pytest.approx(1.9 + 100 * 0.1 + 2.0)


@pytest.mark.parametrize(("micro_batch_size", "passes"), [(None, 1), (1, 4), (3, 2)])
def test_every_micro_batch_is_a_pass(monkeypatch, micro_batch_size, passes):
    model = SlowModel(monkeypatch, step_s=2.0, example_s=0.5)
    space = {**FIXED, **({} if micro_batch_size is None else {"micro_batch_size": micro_batch_size})}
    spec = make_spec(search={"space": space}, model={"architecture": tiny_architecture()})
    assert timed(spec, clock=model.clock).ascent_step_s == pytest.approx(passes * 2.0 + 4 * 0.5)


def test_no_weights_of_a_pretrained_model_are_loaded_to_time_it(monkeypatch, tmp_path):
    AutoModelForCausalLM.from_config(AutoConfig.for_model(**tiny_architecture(), vocab_size=300)).save_pretrained(
        tmp_path
    )
    (tmp_path / "model.safetensors").unlink()
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    model = {"architecture": None, "vocab_size": 1024, "pretrained": str(tmp_path)}
    spec = make_spec(search={"space": FIXED}, model=model, preparation={"epochs": 1, "references": 0})
    assert timed(spec, clock=quick_clock()).training_step_s > 0


def test_the_table_says_how_far_timings_were_from_each_other():
    times = iter([10.0, 11.0, 20.0, 21.5, 30.0, 31.2])  # three steps of 1.0, 1.5 and 1.2 s
    timer = BudgetedTimer(lambda: 0.0, synchronize=lambda: None)
    timer._clock = lambda: next(times)
    assert timer._median_s(lambda _: None, 4) == pytest.approx(1.2)
    assert timer.spread == pytest.approx(0.5 / 1.2)
    result = plan_sweep(make_spec(), concurrent_trials=1, times=replace(TIMES, spread=timer.spread))
    assert result.as_json()["timing_spread"] == timer.spread
    assert "which took within 42% of each other" in " ".join(table_of(result).split())
    unknown = plan_sweep(make_spec(), concurrent_trials=1, times=TIMES)
    assert (unknown.timing_spread, plan(make_spec()).timing_spread) == (None, None)
    assert "of each other" not in table_of(unknown)


def test_the_table_says_that_an_estimate_was_cut_short():
    for cut_short in (False, True):
        result = plan_sweep(make_spec(), concurrent_trials=1, times=replace(TIMES, cut_short=cut_short))
        assert result.as_json()["timed_in_part"] is cut_short
        assert ("parts of them were timed" in table_of(result)) is cut_short
    assert plan(make_spec()).timed_in_part is None


def test_passes_through_a_reference_model_take_time_too(monkeypatch):
    graphs, score_batch = [], step_times.score_batch
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)

    def noting(model, batch):
        scores = score_batch(model, batch)
        graphs.append((len(batch["labels"]), scores.logp_BT.requires_grad))
        return scores

    monkeypatch.setattr(step_times, "score_batch", noting)
    objective = {"choices": {"gradient_ascent": {}, "dpo": {"retain_loss": ["nll", "kl"]}, "npo": {}}}
    space = {"batch_size": 4, "learning_rate": 1e-3, "objective": objective}
    timed(make_spec(search={"space": space}, model={"architecture": tiny_architecture()}), clock=quick_clock())
    passes = Counter(graphs)
    assert passes[4, True] == 4 * 3, "forget, alternate and retain batch, with gradient"
    assert passes[4, False] == 4 * 3, "the same through the reference"


def test_json_has_the_saving():
    result = plan(make_spec())
    assert result.as_json()["saving"] == result.saving
    assert result.as_json()["trials"] == 8
