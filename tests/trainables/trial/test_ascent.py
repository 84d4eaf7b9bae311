"""The trajectory: its prefixes are the shorter trials, whatever ran before, however it was interrupted."""

import math
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from tests.support import MemorySink, deterministic, run_to_end, same_state, state_of, tiny_trial, tiny_workload
from trainables.encoding import collate
from trainables.metrics import score_batch
from trainables.records import Status
from trainables.trial import DivergedError, Engine, TrialRun

SGD = {"optimizer": "sgd", "learning_rate": 0.1, "clip_norm": 1.0}
MOMENTUM = {"optimizer": "sgd", "learning_rate": 0.05, "momentum": 0.9}
ADAMW = {"optimizer": "adamw", "learning_rate": 0.01}
DIFFERENCE = {**ADAMW, "objective": "gradient_difference", "objective_settings": {"retain_weight": 0.5}}
BATCH_SIZES = [6, 3, 1]
STEPS = (0, 1, 5)


@pytest.fixture(scope="module")
def workload():
    return tiny_workload()


@pytest.fixture(scope="module")
def workload_with_dropout():
    return tiny_workload(dropout=0.3)


def used_engine(workload):
    """An engine that another trial has left dirty: a step not finished, gradients and momentum and all."""
    engine = Engine(workload)
    run = TrialRun(engine, tiny_trial(steps=(3, 9), trial_id="earlier", seed=99, **ADAMW), MemorySink())
    run.advance()
    for parameter in engine.model.parameters():
        parameter.grad = torch.full_like(parameter, 5.0)
    engine.accelerator.step = 1  # a step was cut off between two micro-batches
    return engine


ENGINES = {"fresh engine": Engine, "used engine": used_engine}


def trajectory(engine, steps, **fields):
    """The run, and the weights after each of its evaluations."""
    run, states = TrialRun(engine, tiny_trial(steps=steps, **fields), MemorySink()), {}
    while run.outcome is None:
        evaluation = run.advance()
        if evaluation is not None:
            states[evaluation.step] = state_of(engine.model)
    return run, states


def evaluations_of(run, steps):
    """The run's rows but for that of the base model, which every trial has."""
    return deterministic(evaluation for evaluation in run.evaluations if evaluation.step in steps)


def examples_of(run, step):
    _, examples = run._sink.published("trial")
    return deterministic(example for example in examples if example.step == step)


def assert_prefixes_are_the_shorter_trials(workload, make_engine, **fields):
    long, long_states = trajectory(Engine(workload), STEPS, **fields)
    assert long.outcome.status is Status.COMPLETED
    assert len({repr(sorted(row.items())) for row in evaluations_of(long, STEPS)}) == len(STEPS)
    for step, row in zip(STEPS, evaluations_of(long, STEPS), strict=True):
        short, short_states = trajectory(make_engine(workload), (step,), **fields)
        assert evaluations_of(short, (step,)) == [row]
        assert examples_of(short, step) == examples_of(long, step)
        assert same_state(short_states[step], long_states[step])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("batch_size", BATCH_SIZES)
@pytest.mark.parametrize("settings", [SGD, ADAMW], ids=["sgd", "adamw"])
def test_an_evaluation_of_a_long_trial_is_bit_identical_to_the_short_trial(workload, engine, batch_size, settings):
    assert_prefixes_are_the_shorter_trials(workload, ENGINES[engine], batch_size=batch_size, **settings)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "settings",
    [{**ADAMW, "batch_size": 3}, {**MOMENTUM, "batch_size": 6, "micro_batch_size": 2}, {**DIFFERENCE, "batch_size": 4}],
    ids=["adamw", "momentum, micro-batches", "gradient difference"],
)
def test_the_same_holds_with_dropout(workload_with_dropout, engine, settings):
    assert_prefixes_are_the_shorter_trials(workload_with_dropout, ENGINES[engine], **settings)


def test_dropout_is_really_on_while_ascending(workload, workload_with_dropout):
    _, without = trajectory(Engine(workload), (0, 1), **SGD)
    _, with_it = trajectory(Engine(workload_with_dropout), (0, 1), **SGD)
    assert same_state(without[0], with_it[0])
    assert not same_state(without[1], with_it[1])


def during_every_forward_pass(engine, look, advance):
    """What is seen at each pass that trains; a model is compared with its head without."""
    seen = []
    hook = engine.model.register_forward_pre_hook(
        lambda model, args, kwargs: seen.append(look(kwargs)) if model.training else None, with_kwargs=True
    )
    advance()
    hook.remove()
    return seen


def test_every_step_has_a_dropout_stream_of_its_own(workload):
    engine = Engine(workload)
    ascent = engine.start(tiny_trial())
    seeds = during_every_forward_pass(engine, lambda _: torch.initial_seed(), lambda: ascent.advance(5))
    assert len(set(seeds)) == len(seeds) == 5


def test_forget_and_retain_batches_are_drawn_independently(workload):
    engine = Engine(replace(workload, retain=workload.evaluation_sets["forget"].forget))
    ascent = engine.start(tiny_trial(batch_size=1, **DIFFERENCE))
    passes = during_every_forward_pass(engine, lambda kw: kw["input_ids"].tolist(), lambda: ascent.advance(6))
    assert passes[0::2] != passes[1::2]
    assert sorted(passes[0::2]) == sorted(passes[1::2])


def test_a_trial_leaves_the_ambient_generators_and_they_it_alone(workload_with_dropout):
    torch.manual_seed(1)
    engine, before = Engine(workload_with_dropout), torch.get_rng_state()
    _, first = trajectory(engine, (3,), **SGD)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    np.random.seed(2)
    _, second = trajectory(engine, (3,), **SGD)
    assert same_state(first[3], second[3])


def test_the_seed_matters_where_batches_are_drawn(workload):
    _, one = trajectory(Engine(workload), (1,), batch_size=1, seed=1)
    _, two = trajectory(Engine(workload), (1,), batch_size=1, seed=2)
    assert not same_state(one[1], two[1])


@pytest.mark.parametrize("settings", [SGD, MOMENTUM, ADAMW, DIFFERENCE], ids=["sgd", "momentum", "adamw", "difference"])
@pytest.mark.parametrize("micro_batch_size", [1, 2, 4, 5])
def test_accumulated_micro_batches_give_the_weights_of_the_whole_batch(workload, settings, micro_batch_size):
    _, one_batch = trajectory(Engine(workload), (2,), batch_size=6, **settings)
    run, parts = trajectory(Engine(workload), (2,), batch_size=6, micro_batch_size=micro_batch_size, **settings)
    assert run.evaluations[-1].tokens_seen > 0
    for name, array in one_batch[2].items():
        # AdamW divides by the root of the second moment, which magnifies rounding where a gradient is near 0
        tolerance = 1e-6 if settings["optimizer"] == "sgd" else 1e-4
        np.testing.assert_allclose(parts[2][name], array, rtol=1e-5, atol=tolerance)


@pytest.mark.parametrize("retain", [8, 2, 1])
@pytest.mark.parametrize("settings", [SGD, DIFFERENCE], ids=["gradient ascent", "gradient difference"])
def test_no_forward_pass_is_larger_than_a_micro_batch(workload, retain, settings):
    engine = Engine(replace(workload, retain=workload.retain.select(range(retain))))
    ascent = engine.start(tiny_trial(batch_size=6, micro_batch_size=2, **settings))
    seen = during_every_forward_pass(engine, lambda kwargs: len(kwargs["input_ids"]), lambda: ascent.advance(1))
    assert max(seen) <= 2
    one_batch = Engine(engine.workload)
    one_batch.start(tiny_trial(batch_size=6, **settings)).advance(1)
    for found, expected in zip(engine.model.parameters(), one_batch.model.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)  # and nothing is lost


def test_one_full_batch_step_of_sgd_is_the_textbook_step(workload):
    engine = Engine(workload)
    engine.start(tiny_trial(clip_norm=None, learning_rate=0.1)).advance(1)
    model = workload.base.build()
    score_batch(model, collate(workload.evaluation_sets["forget"].forget, range(6))).nll_per_token().backward()
    for found, parameter in zip(engine.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(found, parameter + 0.1 * parameter.grad, rtol=1e-5, atol=1e-6)


def test_clipping_bounds_the_step(workload):
    engine = Engine(workload)
    start = engine.workload.base.arrays
    engine.start(tiny_trial(clip_norm=0.01, learning_rate=1.0)).advance(1)
    moved = math.sqrt(sum(float(((state - start[name]) ** 2).sum()) for name, state in state_of(engine.model).items()))
    assert moved == pytest.approx(0.01, rel=1e-3)


def test_ascent_raises_the_forget_loss(workload):
    run, _ = trajectory(Engine(workload), (0, 3, 6), **SGD)
    losses = [evaluation.forget_nll for evaluation in run.evaluations]
    assert losses == sorted(losses)
    assert losses[-1] > losses[0] + 0.5


def test_tokens_seen_are_the_target_tokens_of_every_step(workload):
    run, _ = trajectory(Engine(workload), (0, 1, 3))
    targets = int(workload.evaluation_sets["forget"].forget.num_targets_N.sum())
    assert [evaluation.tokens_seen for evaluation in run.evaluations] == [0, targets, 3 * targets]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("settings", [SGD, MOMENTUM, ADAMW, DIFFERENCE], ids=["sgd", "momentum", "adamw", "difference"])
def test_resuming_from_a_packed_state_is_bit_identical(workload_with_dropout, engine, settings):
    trial = tiny_trial(batch_size=4, **settings)
    first = Engine(workload_with_dropout)
    ascent = first.start(trial)
    ascent.advance(3)
    payload = ascent.pack(elapsed_s=12.5)
    ascent.advance(7)

    second = ENGINES[engine](workload_with_dropout)
    resumed = second.start(trial)
    assert resumed.unpack(payload).elapsed_s == 12.5
    assert resumed.step == 3
    resumed.advance(7)
    assert same_state(state_of(second.model), state_of(first.model))
    assert resumed.tokens_seen == ascent.tokens_seen


def assert_all_finite(results):
    evaluations, examples = results.published("trial")
    for record in (*evaluations, *examples):
        assert all(math.isfinite(v) for v in asdict(record).values() if isinstance(v, float))


EXPLODING = {"learning_rate": 1e6, "weight_decay": 1e9, "clip_norm": None}
"""Every step multiplies the weights by -1e15, so that they overflow on any processor."""


def test_an_enormous_learning_rate_diverges_and_only_finite_rows_are_published(workload):
    results = MemorySink()
    run = run_to_end(Engine(workload), tiny_trial(steps=(0, 1, 2, 3), **EXPLODING), results)
    assert run.outcome.status is Status.DIVERGED
    assert "step" in run.outcome.message
    assert results.published("trial")[0][0].step == 0
    assert run.outcome.last_step == results.published("trial")[0][-1].step
    assert_all_finite(results)


def test_a_diverging_step_is_not_taken(workload):
    engine = Engine(workload)
    ascent = engine.start(tiny_trial(batch_size=6, micro_batch_size=2))
    ascent.advance(2)
    tokens_seen = ascent.tokens_seen
    with torch.no_grad():
        engine.model.model.norm.weight.fill_(math.inf)
    before = state_of(engine.model)
    with pytest.raises(DivergedError, match="step 3: the loss is"):
        ascent.advance(5)
    assert (ascent.step, ascent.tokens_seen) == (2, tokens_seen)
    assert same_state(state_of(engine.model), before)


def test_a_gradient_that_is_not_finite_diverges_before_it_reaches_the_weights(workload):
    engine = Engine(workload)
    ascent = engine.start(tiny_trial())
    hook = engine.model.model.norm.weight.register_hook(lambda gradient: gradient * math.nan)
    before = state_of(engine.model)
    with pytest.raises(DivergedError, match="step 1: the gradient norm is nan"):
        ascent.advance(1)
    hook.remove()
    assert ascent.step == 0
    assert same_state(state_of(engine.model), before)
    assert all(parameter.grad is None for parameter in engine.model.parameters())


def test_a_trial_after_a_diverged_one_is_as_on_a_fresh_engine(workload):
    engine = Engine(workload)
    diverged = run_to_end(engine, tiny_trial(steps=(4,), **EXPLODING), MemorySink())
    assert diverged.outcome.status is Status.DIVERGED
    _, after = trajectory(engine, (3,), micro_batch_size=2)
    _, fresh = trajectory(Engine(workload), (3,), micro_batch_size=2)
    assert same_state(after[3], fresh[3])


def test_a_collapsed_trial_stops_with_its_last_row_marked():
    results = MemorySink()
    steps = tuple(range(0, 40))
    workload = tiny_workload(max_increase=0.5)
    run = run_to_end(Engine(workload), tiny_trial(steps=steps, **{**ADAMW, "learning_rate": 0.1}), results)
    assert run.outcome.status is Status.COLLAPSED
    *earlier, last = results.published("trial")[0]
    assert last.status is Status.COLLAPSED
    assert last.heldout_nll > workload.evaluation_sets["forget"].max_heldout_nll
    assert earlier
    assert all(evaluation.status is Status.COMPLETED for evaluation in earlier)
    assert run.outcome.last_step == last.step < 39
    assert "above the floor" in run.outcome.message
    assert_all_finite(results)


def test_a_schedule_that_looks_at_the_total_differs_between_totals_and_a_constant_one_does_not(workload):
    states = {
        (schedule, horizon): trajectory(Engine(workload), (4,), schedule=schedule, horizon=horizon)[1][4]
        for schedule in ("linear", "constant")
        for horizon in (4, 50)
    }
    assert not same_state(states["linear", 4], states["linear", 50])
    assert same_state(states["constant", 4], states["constant", 50])
