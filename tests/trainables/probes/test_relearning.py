"""Relearning: what is shown and what is measured, the fine-tuning against a plain loop, and what the scores mean."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from tests.support import deterministic, same_state, state_of, tiny_model
from tests.trainables.probes.probed import KINDS, TEXTS, model_of, probed_model, texts
from trainables.config import LoraConfig
from trainables.encoding import collate
from trainables.errors import UnlearningError
from trainables.metrics import evaluate, score_batch, score_set
from trainables.metrics.exposure import generalized_exposure
from trainables.optim import OPTIMIZERS
from trainables.probes import check_probe, run_probe
from trainables.probes import relearning as relearning_module
from trainables.probes.fine_tuning import FineTuning
from trainables.probes.lessons import draw_lessons
from trainables.probes.relearning import first_crossing, regained_share

FAST = {"learning_rate": 1e-2, "steps": [1, 2, 5]}
LORA = LoraConfig(rank=2)


def settings(**given):
    return check_probe("relearning", {**FAST, **given})


def run(probed, **given):
    return list(run_probe("relearning", settings(**given), probed))


def ids(encoded):
    return list(encoded.example_ids)


def comparable(records):
    return [
        (r.role, r.variant, r.amount, dict(r.scores), deterministic([r.before, r.after] if r.after else [r.before]))
        for r in records
    ]


@pytest.mark.parametrize("share", [0.01, 0.5, 0.7, 0.99])
def test_what_is_fine_tuned_on_is_never_measured_and_both_parts_are_the_forget_set(share):
    lessons = draw_lessons(probed_model(), settings(share=share))
    taught, measured = ids(lessons.taught["in-domain"]), ids(lessons.measured.forget)
    assert sorted([*taught, *measured]) == sorted(e.example_id for e in TEXTS["forget"])
    assert len(taught) == min(max(1, round(share * 8)), 7)
    controls, ranked = ids(lessons.taught["control"]), ids(lessons.measured.population)
    assert sorted([*controls, *ranked]) == sorted(e.example_id for e in TEXTS["population"])
    assert len(controls) == min(len(taught), 6)


def test_every_role_is_shown_and_measured_by_the_same_examples_and_another_seed_by_others():
    drawn = [draw_lessons(probed_model(role=role), settings()) for role in ("unlearned", "reference-0", "base")]
    shown = [
        (ids(lessons.measured.forget), *(ids(encoded) for encoded in lessons.taught.values())) for lessons in drawn
    ]
    assert shown[0] == shown[1] == shown[2]
    other = draw_lessons(probed_model(seed=6), settings())
    assert ids(other.measured.forget) != ids(drawn[0].measured.forget)
    assert ids(other.taught["out-of-domain"]) != ids(drawn[0].taught["out-of-domain"])


def test_what_is_known_of_the_measured_part_goes_with_it():
    probed = probed_model()
    measured = draw_lessons(probed, settings()).measured
    at = [ids(probed.sets.forget).index(name) for name in ids(measured.forget)]
    assert measured.base_logp_N.tolist() == probed.sets.base_logp_N[at].tolist()
    assert measured.reference_logp_SN.tolist() == probed.sets.reference_logp_SN[:, at].tolist()


def test_out_of_domain_takes_no_distractor_and_what_is_scored_only_where_nothing_else_is_left():
    probed = probed_model()
    scored = set(probed.sets.retain.example_ids)
    for seed in range(5):
        drawn = draw_lessons(dataclasses.replace(probed, seed=seed), settings()).taught["out-of-domain"]
        assert len(drawn) == 4
        assert all(name.startswith("retain") for name in ids(drawn))
        assert not scored & set(ids(drawn))
    few = dataclasses.replace(probed, retain=[*TEXTS["retain"][:5], *TEXTS["distractors"]])
    drawn = ids(draw_lessons(few, settings()).taught["out-of-domain"])
    assert "retain-4" in drawn
    assert len(set(drawn)) == 4
    assert set(drawn) <= {f"retain-{i}" for i in range(5)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("variant", ["in-domain", "control"])
def test_each_record_is_what_a_plain_loop_of_adamw_finds(kind, variant):
    """Without batches, dropout and clipping: the whole part A in each step, by PyTorch's AdamW."""
    probed = probed_model(kind)
    lessons = draw_lessons(probed, settings(variants=[variant]))
    records = run(probed, variants=[variant], clip_norm=None)
    model = model_of(kind, "unlearned").train()
    batch = collate(lessons.taught[variant], range(len(lessons.taught[variant])))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    before, _ = evaluate(model, lessons.measured, batch_size=16, step=0, tokens_seen=0, elapsed_s=0.0)
    assert [(r.variant, r.amount) for r in records] == [(variant, step) for step in FAST["steps"]]
    assert {r.before for r in records} == {before}
    step = tokens = 0
    for record in records:
        while step < record.amount:
            optimizer.zero_grad()
            score_batch(model.train(), batch).nll_per_token().backward()
            optimizer.step()
            step, tokens = step + 1, tokens + int(lessons.taught[variant].num_targets_N.sum())
        after, _ = evaluate(model, lessons.measured, batch_size=16, step=step, tokens_seen=tokens, elapsed_s=0.0)
        assert (record.after.step, record.after.tokens_seen) == (step, tokens)
        for name in ("forget_nll", "gen_ex", "gen_ex_abs", "heldout_nll", "retain_nll", "population_nll"):
            assert getattr(record.after, name) == pytest.approx(getattr(after, name), rel=2e-3, abs=2e-3)


def test_micro_batches_change_rounding_only():
    whole, parts = (
        run(probed_model(), variants=["in-domain"]),
        run(probed_model(), variants=["in-domain"], micro_batch_size=3),
    )
    for one, other in zip(whole, parts, strict=True):
        assert one.after.forget_nll == pytest.approx(other.after.forget_nll, rel=1e-3)
        assert one.after.tokens_seen == other.after.tokens_seen


def test_small_batches_see_every_example_of_an_epoch_once():
    probed = probed_model()
    taught = draw_lessons(probed, settings()).taught["in-domain"]
    tuning = FineTuning(probed.model, taught, settings(batch_size=2), seed=1, variant="in-domain")
    assert tuning.advance(2)
    assert tuning.tokens_seen == taught.num_targets_N.sum()


@pytest.mark.parametrize("kind", KINDS)
def test_records_depend_on_nothing_that_was_drawn_or_probed_before(kind):
    probed = probed_model(kind)
    first = run(probed)
    torch.manual_seed(77)
    np.random.seed(77)
    state = torch.random.get_rng_state()
    list(run_probe("quantization", check_probe("quantization", {}), probed))
    assert comparable(run(probed)) == comparable(first)
    assert torch.equal(torch.random.get_rng_state(), state)
    alone = run(probed_model(kind), variants=["control", "in-domain"], steps=[2])
    expected = [r for v in ("control", "in-domain") for r in first if (r.variant, r.amount) == (v, 2)]
    assert [r.after.forget_nll for r in alone] == [r.after.forget_nll for r in expected]


def test_dropout_is_drawn_by_the_seed():
    def after(seed):
        model = tiny_model(dropout=0.5)
        model.load_state_dict(model_of("causal", "unlearned").state_dict())
        model.config.attention_dropout = 0.5
        (record,) = run(probed_model(model=model, seed=seed), variants=["in-domain"], steps=[3])
        return record.after.forget_nll

    assert after(5) == after(5)
    (without,) = run(probed_model(), variants=["in-domain"], steps=[3])
    assert after(5) != without.after.forget_nll


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lora", [None, LORA])
@pytest.mark.parametrize("role", ["unlearned", "reference-0"])
def test_the_model_is_left_as_it_was(kind, lora, role):
    probed = probed_model(kind, role, lora=lora)
    before, trained = state_of(probed.model), [p.requires_grad for p in probed.model.parameters()]
    tensors = [id(p) for p in probed.model.parameters()]
    records = run(probed)
    assert len({r.after.forget_nll for r in records}) == 9, "every step of every variant has changed it"
    assert same_state(state_of(probed.model), before)
    assert [p.requires_grad for p in probed.model.parameters()] == trained
    assert [id(p) for p in probed.model.parameters()] == tensors
    assert all(p.grad is None for p in probed.model.parameters())
    assert not probed.model.training


@pytest.mark.parametrize("lora", [None, LORA])
def test_a_curve_that_is_left_early_leaves_the_model_as_it_was(lora):
    probed = probed_model(role="reference-0", lora=lora)
    before = state_of(probed.model)
    running = run_probe("relearning", settings(), probed)
    next(running)
    assert not same_state(state_of(probed.model), before)
    running.close()
    assert same_state(state_of(probed.model), before)


def test_where_adapters_are_trained_a_reference_model_is_fine_tuned_by_adapters_too(monkeypatch):
    names = []
    original = FineTuning.__init__

    def noting(self, model, *args, **kwargs):
        names.append({name.split(".")[-3] for name, p in model.named_parameters() if p.requires_grad})
        original(self, model, *args, **kwargs)

    monkeypatch.setattr(FineTuning, "__init__", noting)
    for role in ("unlearned", "reference-0"):
        run(probed_model(role=role, lora=LORA), variants=["in-domain"], steps=[1])
    assert names[0] == names[1] == {"lora_A", "lora_B"}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_fine_tunes(name):
    probed = probed_model()
    before = state_of(probed.model)
    records = run(probed, optimizer=name, variants=["in-domain"], steps=[3], learning_rate=1e-3)
    assert records[0].after.forget_nll != records[0].before.forget_nll
    assert same_state(state_of(probed.model), before)


@pytest.mark.parametrize("kind", KINDS)
def test_the_regained_share_is_that_of_generalized_exposure(kind):
    probed = probed_model(kind)
    measured = draw_lessons(probed, settings()).measured
    of_base = float(generalized_exposure(measured.base_logp_N[np.newaxis], measured.reference_logp_SN).mean())
    for record in run(probed):
        before, after = record.before.gen_ex, record.after.gen_ex
        assert record.scores["regained"] == pytest.approx((after - before) / (of_base - before), rel=1e-6)
        assert (record.scores["share"], record.scores["fine_tuned"], record.scores["measured"]) == (0.5, 4, 4)


def test_without_reference_models_the_share_is_the_same():
    with_them, without = (
        [r.scores for r in run(probed_model(references=references), variants=["in-domain"])] for references in (2, 0)
    )
    assert [s["regained"] for s in with_them] == [s["regained"] for s in without]


def test_nothing_comes_back_to_a_model_that_lacks_nothing():
    assert all("regained" not in r.scores for r in run(probed_model(role="base")))
    assert regained_share(1.0, 0.5, 1.0) is None
    assert regained_share(1.0, 0.5, 1.5) is None
    assert regained_share(2.0, 1.5, 1.0) == 0.5
    assert regained_share(2.0, 2.5, 1.0) == -0.5
    assert regained_share(1.04, 0.5, 1.0, never_trained=2.0) is None, "a twentieth of what is memorized is noise"
    assert regained_share(1.06, 1.03, 1.0, never_trained=2.0) == pytest.approx(0.5)
    assert regained_share(1.06, 1.03, 1.0, never_trained=0.9) == pytest.approx(0.5), "nothing was memorized"


def test_steps_to_half_is_the_first_crossing_and_absent_before_it(monkeypatch):
    assert first_crossing([(0, 0.0), (2, 0.25), (5, 1.0)], 0.5) == pytest.approx(2 + 3 * 0.25 / 0.75)
    assert first_crossing([(0, 0.0), (1, 0.75), (2, 0.1), (5, 0.9)], 0.5) == pytest.approx(2 / 3)
    assert first_crossing([(0, 0.0), (1, 0.5)], 0.5) == 1
    assert first_crossing([(0, 0.0), (20, 0.49)], 0.5) is None
    shares = iter([0.1, 0.3, 0.6, 0.4, 0.9])
    monkeypatch.setattr(relearning_module, "regained_share", lambda *_: next(shares))
    records = run(probed_model(), variants=["in-domain"], steps=[1, 2, 5, 10, 20])
    assert [r.scores["regained"] for r in records] == [0.1, 0.3, 0.6, 0.4, 0.9]
    assert [r.scores.get("steps_to_half") for r in records] == [None, None, *[pytest.approx(2 + 3 * 2 / 3)] * 3]


@pytest.mark.parametrize("kind", KINDS)
def test_an_unlearned_model_regains_more_than_reference_models_are_taught(kind):
    gains = {
        role: [r.scores["regained"] for r in run(probed_model(kind, role), variants=["in-domain"])]
        for role in ("unlearned", "reference-0", "reference-1")
    }
    taught = (max(gains["reference-0"]) + max(gains["reference-1"])) / 2
    assert max(gains["unlearned"]) > taught


def test_the_population_is_a_control_in_each_record():
    """It is scored after the same fine-tuning, without those that ``control`` is fine-tuned on."""
    probed = probed_model()
    measured = draw_lessons(probed, settings()).measured
    records = run(probed)
    expected = score_set(probed.model, measured.population, batch_size=16).nll_per_token
    assert {r.before.population_nll for r in records} == {expected}
    assert all(r.after.population_nll != expected for r in records)
    whole = draw_lessons(probed, settings(variants=["in-domain"])).measured.population
    assert len(whole) == 12


def test_divergence_ends_a_variant_with_a_record_and_the_model_is_as_it_was():
    probed = probed_model()
    before = state_of(probed.model)
    records = run(probed, optimizer="sgd", learning_rate=1e6, clip_norm=None, steps=[1, 2, 50, 60])
    for variant in ("in-domain", "out-of-domain", "control"):
        own = [r for r in records if r.variant == variant]
        assert own[-1].scores["diverged"] == 1
        assert own[-1].after is None
        assert own[-1].amount < 60
        assert all("diverged" not in r.scores for r in own[:-1])
    assert same_state(state_of(probed.model), before)
    assert all(math.isfinite(value) for r in records for value in r.scores.values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: {"sets": p.sets.with_examples(forget=[0])}, "the forget set has 1 example, and it takes two"),
        (lambda p: {"retain": []}, "no retained texts .* leave 'out-of-domain' out of variants"),
        (lambda p: {"retain": texts(3, "distractors", 5)}, "no retained texts"),
        (
            lambda p: {"sets": dataclasses.replace(p.sets, population=p.sets.population.select([0]))},
            "the population has 1 example, .* leave 'control' out of variants",
        ),
    ],
)
def test_data_that_are_too_few_are_refused_before_anything_is_trained(change, message):
    probed = probed_model()
    with pytest.raises(UnlearningError, match=message):
        next(run_probe("relearning", settings(), dataclasses.replace(probed, **change(probed))))
