"""Objectives against slow computation, their gradients, how parts add up, and the registry's refusals."""

from functools import cache
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import PROPERTY, tiny_encoded, tiny_model, tiny_seq2seq_model
from tests.trainables import oracles
from trainables.encoding import IGNORE, collate
from trainables.errors import UnlearningError
from trainables.metrics import Reduction, StepCounts, score_batch
from trainables.objectives import OBJECTIVES, Objective, ObjectiveSettings, check_objective, compute, register
from trainables.objectives.settings import KLPositions

KINDS = ["causal", "encoder-decoder"]
VARIANTS = {
    **{name: [{}] for name in OBJECTIVES},
    "gradient_ascent": [{}, {"reduction": "sequence"}],
    "gradient_difference": [{}, {"forget_weight": 2.0, "retain_weight": 3.0, "reduction": "sequence"}],
    "kl_ascent": [{}, {"kl_positions": "all"}, {"kl_positions": "all", "reduction": "sequence"}],
    "bounded_ascent": [{}, {"bound": 6.0, "reduction": "sequence"}],
    "npo": [{}, {"length": "mean", "retain_loss": "kl", "beta": 0.7}, {"retain_weight": 0.0, "forget_weight": 2.0}],
    "simnpo": [{"delta": 1.0}, {"beta": 0.5, "retain_loss": "kl", "kl_positions": "all"}],
    "dpo": [{}, {"length": "mean", "beta": 1.5}],
    "wga": [{"beta": 0.5}],
    "satimp": [{"beta1": 0.3, "beta2": 2.0, "reduction": "sequence"}],
    "undial": [{}, {"beta": 2.0, "retain_weight": 0.5, "reduction": "sequence"}],
    "ceu": [{}, {"ignore_first": 0}, {"ignore_first": 3, "reduction": "sequence"}],
    "task_vector": [{"reduction": "sequence"}],
}
CASES = [(name, settings) for name, variants in VARIANTS.items() for settings in variants]
NEED_A_BATCH = [name for name, objective in OBJECTIVES.items() if objective.needs_retain]


class Setup:
    """A model of one kind, a frozen reference that differs from it, and batches for both."""

    def __init__(self, kind):
        build = tiny_seq2seq_model if kind == "encoder-decoder" else tiny_model
        self.model, self.reference = build(seed=0), build(seed=5).requires_grad_(False)
        sets = [tiny_encoded(n, seed=s, encoder_decoder=kind == "encoder-decoder") for n, s in ((4, 1), (3, 2), (4, 3))]
        self.forget, self.retain, self.alternates = sets

    def compute(self, name, forget=None, retain=None, counts=False, **settings):
        """The loss of the whole step, or the part of it that has these examples."""
        forget, retain = range(4) if forget is None else forget, range(3) if retain is None else retain
        totals = {"forget_counts": StepCounts.of(self.forget), "retain_counts": StepCounts.of(self.retain)}
        return compute(
            name,
            self.model,
            collate(self.forget, forget),
            reference_model=self.reference,
            retain_batch=collate(self.retain, retain),
            alternate_batch=collate(self.alternates, forget),
            **(totals if counts else {}),
            **settings,
        )

    def gradients(self, loss):
        self.model.zero_grad()
        loss.backward()
        return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in self.model.parameters()]


@cache
def setup_of(kind):
    return Setup(kind)


@pytest.fixture(params=KINDS)
def setup(request):
    return setup_of(request.param)


def assert_same_gradients(setup, loss, expected, atol=1e-6):
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5, abs=1e-6)
    found, wanted = setup.gradients(loss), setup.gradients(expected)
    assert any(gradient.abs().max() > 1e-4 for gradient in wanted)
    for left, right in zip(found, wanted, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-3, atol=atol)


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_every_objective_and_its_gradient_are_those_of_its_equation(setup, name, settings):
    batches = [collate(encoded, range(len(encoded))) for encoded in (setup.forget, setup.alternates)]
    current, reference, alternate, alternate_reference = (
        oracles.examples_of(model, batch) for batch in batches for model in (setup.model, setup.reference)
    )
    s = oracles.all_settings(name, settings)
    expected = oracles.forget_term(name, s, current, reference, alternate, alternate_reference)
    if s.get("retain_weight"):
        retain = collate(setup.retain, range(3))
        kept = oracles.retain_term(s, *(oracles.examples_of(m, retain) for m in (setup.model, setup.reference)))
        expected = s["forget_weight"] * expected + s["retain_weight"] * kept
    else:
        expected = s.get("forget_weight", 1.0) * expected
    assert_same_gradients(setup, setup.compute(name, **settings), expected)


PADDED = [
    (name, {"retain_loss": "kl", "kl_positions": "all", "retain_weight": 1.0}) for name in ("npo", "undial", "ceu")
]


@pytest.mark.parametrize(("name", "settings"), [*((name, {}) for name in OBJECTIVES), *PADDED])
def test_padding_changes_nothing(setup, name, settings):
    def padded(batch):
        fill = {"input_ids": 7, "attention_mask": 0, "labels": IGNORE}
        return {key: torch.nn.functional.pad(batch[key], (0, 5), value=value) for key, value in fill.items()}

    batches = [collate(encoded, range(len(encoded))) for encoded in (setup.forget, setup.retain, setup.alternates)]
    losses = [
        compute(name, setup.model, f, reference_model=setup.reference, retain_batch=r, alternate_batch=a, **settings)
        for f, r, a in (batches, map(padded, batches))
    ]
    assert_same_gradients(setup, losses[1], losses[0])


@pytest.mark.parametrize("reduction", get_args(Reduction))
@pytest.mark.parametrize("name", OBJECTIVES)
def test_parts_add_up_to_the_step(setup, name, reduction):
    settings = {"reduction": reduction}
    if "retain_loss" in OBJECTIVES[name].own_settings:
        settings |= {"retain_loss": "kl", "retain_weight": 0.5}
    if "kl_positions" in OBJECTIVES[name].own_settings:
        settings |= {"kl_positions": "all" if reduction == "token" else "target"}
    parts = [
        setup.compute(name, forget, retain, counts=True, **settings)
        for forget, retain in (([0, 1], [0]), ([2, 3], [1, 2]), ([], []))
    ]
    assert parts[-1].item() == 0.0, "a worker without examples adds nothing"
    assert_same_gradients(setup, sum(parts), setup.compute(name, **settings))


@settings(PROPERTY, max_examples=15)
@given(
    cut=st.integers(0, 4),
    name=st.sampled_from(["npo", "ceu", "gradient_difference"]),
    positions=st.sampled_from(get_args(KLPositions)),
)
def test_wherever_a_step_is_cut_its_losses_add_up(cut, name, positions):
    setup, chosen = setup_of("causal"), {"retain_loss": "kl", "kl_positions": positions, "retain_weight": 2.0}
    with torch.no_grad():
        whole_step = setup.compute(name, **chosen)
        parts = [
            setup.compute(name, range(4)[f], range(3)[r], counts=True, **chosen)
            for f, r in ((slice(cut), slice(cut // 2)), (slice(cut, None), slice(cut // 2, None)))
        ]
    assert sum(parts).item() == pytest.approx(whole_step.item(), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("name", ["simnpo", "bounded_ascent", "kl_ascent"])
def test_gradients_are_finite_differences(name):
    setup, size = Setup("causal"), 1e-2
    gradients = setup.gradients(setup.compute(name))
    norm = torch.sqrt(sum((gradient**2).sum() for gradient in gradients))
    base, losses = [parameter.detach().clone() for parameter in setup.model.parameters()], []
    for sign in (1, -1):
        with torch.no_grad():
            for parameter, start, gradient in zip(setup.model.parameters(), base, gradients, strict=True):
                parameter.copy_(start + sign * size * gradient / norm)
            losses.append(setup.compute(name).item())
    assert (losses[0] - losses[1]) / (2 * size) == pytest.approx(float(norm), rel=1e-2)


def test_a_token_at_the_bound_is_left_alone():
    setup = setup_of("causal")
    assert setup.compute("bounded_ascent", bound=1e-3).item() == 0.0
    assert all((gradient == 0).all() for gradient in setup.gradients(setup.compute("bounded_ascent", bound=1e-3)))
    pushed = setup.compute("bounded_ascent", bound=1e3)
    assert pushed.item() == pytest.approx(1e3 + setup.compute("gradient_ascent").item(), rel=1e-6)


class HalfPrecision:
    """A model whose logits are bfloat16, as under autocast, wrapped as DistributedDataParallel does."""

    def __init__(self, model):
        self._model = self.module = model

    def __call__(self, **inputs):
        outputs = self._model(**inputs)
        return type(outputs)(logits=outputs.logits.bfloat16())


@pytest.mark.parametrize("name", OBJECTIVES)
def test_losses_are_float32_whatever_the_logits(setup, name):
    half, reference = HalfPrecision(setup.model), HalfPrecision(setup.reference)
    batches = [collate(encoded, range(len(encoded))) for encoded in (setup.forget, setup.retain, setup.alternates)]
    loss = compute(
        name, half, batches[0], reference_model=reference, retain_batch=batches[1], alternate_batch=batches[2]
    )
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(setup.compute(name).item(), rel=5e-2, abs=5e-2)


def test_the_gradient_of_gradient_ascent_is_minus_that_of_the_nll(setup):
    batch = collate(setup.forget, range(4))
    ascent = setup.gradients(compute("gradient_ascent", setup.model, batch))
    descent = setup.gradients(score_batch(setup.model, batch).nll_per_token())
    assert any(g.abs().max() > 1e-3 for g in ascent)
    for left, right in zip(ascent, descent, strict=True):
        assert torch.equal(left, -right)


def test_without_a_retain_batch_an_objective_is_its_forget_term(setup):
    batch = collate(setup.forget, range(4))
    alone = compute("npo", setup.model, batch, reference_model=setup.reference)
    assert alone.item() == pytest.approx(setup.compute("npo", retain_weight=0.0).item())
    assert alone.item() != pytest.approx(setup.compute("npo").item())


def test_an_unknown_objective_suggests_the_nearest(setup):
    with pytest.raises(UnlearningError, match=r"unknown objective 'gradient_asent'; did you mean 'gradient_ascent'\?"):
        setup.compute("gradient_asent")


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("gradient_difference", {"retain_wieght": 1.0}, r"has no 'retain_wieght'; did you mean 'retain_weight'\?"),
        (
            "gradient_ascent",
            {"retain_weight": 1.0},
            "'gradient_ascent' has no 'retain_weight'; ceu, dpo, .* have it; allowed: reduction",
        ),
        ("kl_ascent", {"retain_loss": "nll"}, "'kl_ascent' has no 'retain_loss'"),
        ("npo", {"delta": 1.0}, "'npo' has no 'delta'; simnpo has it; .*allowed: beta, forget_weight"),
        ("npo", {"length": "median"}, r"'npo': length: expected 'sum' or 'mean' \(found 'median'\)"),
        ("npo", {"retain_loss": 1.0}, r"'npo': retain_loss: expected 'nll' or 'kl' \(found 1.0\)"),
        ("npo", {"beta": "large"}, r"'npo': beta: expected a number \(found 'large'\)"),
        ("wga", {"beta": float("nan")}, r"'wga': beta: it must be a finite number \(found nan\)"),
        ("npo", {"beta": 0.0}, r"'npo': beta: it must be greater than 0 \(found 0.0\)"),
        ("ceu", {"ignore_first": 1.5}, r"'ceu': ignore_first: expected a whole number \(found 1.5\)"),
        ("ceu", {"ignore_first": -1}, r"'ceu': ignore_first: it must be greater than or equal to 0 \(found -1\)"),
    ],
)
def test_a_wrong_setting_is_refused_with_what_is_allowed(name, settings, said):
    with pytest.raises(UnlearningError, match=said):
        check_objective(name, settings)


@pytest.mark.parametrize(
    ("name", "settings", "compat", "said"),
    [
        ("kl_ascent", {}, "open-unlearning", "open-unlearning has no objective 'kl_ascent'; it has ceu, dpo"),
        ("npo", {"length": "sum"}, "open-unlearning", "open-unlearning decides 'length'; leave 'length' out"),
        ("npo", {}, "open_unlearning", r"unknown project 'open_unlearning'; did you mean 'open-unlearning'\?"),
    ],
)
def test_what_a_project_does_not_have_is_refused_under_its_name(name, settings, compat, said):
    with pytest.raises(UnlearningError, match=said):
        check_objective(name, settings, compat=compat)


@pytest.mark.parametrize("name", NEED_A_BATCH)
def test_a_missing_retain_batch_is_refused_where_there_is_no_objective_without(setup, name):
    batch, needed = collate(setup.forget, range(4)), {"reference_model": setup.reference}
    with pytest.raises(UnlearningError, match=f"'{name}' needs a retain batch"):
        compute(name, setup.model, batch, **needed)
    alone = compute(name, setup.model, batch, **needed, retain_weight=0.0)
    assert alone.item() == setup.compute("gradient_ascent").item()


@pytest.mark.parametrize("name", [name for name, objective in OBJECTIVES.items() if objective.needs_reference])
def test_a_missing_reference_model_is_refused(setup, name):
    with pytest.raises(UnlearningError, match=f"'{name}' needs the frozen base model; pass reference_model"):
        compute(name, setup.model, *[collate(setup.forget, range(4))], alternate_batch=collate(setup.alternates, [0]))


def test_what_the_settings_need_is_refused_where_it_is_missing(setup):
    forget, retain = collate(setup.forget, range(4)), collate(setup.retain, range(3))
    with pytest.raises(UnlearningError, match="'dpo' needs the forget examples with alternate answers"):
        compute("dpo", setup.model, forget, reference_model=setup.reference)
    with pytest.raises(UnlearningError, match="'wga' with the retain loss 'kl' needs the frozen base model"):
        compute("wga", setup.model, forget, retain_batch=retain, retain_loss="kl")
    compute("wga", setup.model, forget, retain_loss="kl")  # there is no retain term


@pytest.mark.parametrize(
    ("name", "settings", "retains", "uses_base", "passes"),
    [
        ("gradient_ascent", {}, False, False, (1, 0)),
        ("gradient_difference", {}, True, False, (2, 0)),
        ("gradient_difference", {"retain_weight": 0.0}, False, False, (1, 0)),
        ("kl_ascent", {}, True, True, (2, 1)),
        ("npo", {}, True, True, (2, 1)),
        ("npo", {"retain_loss": "kl"}, True, True, (2, 2)),
        ("npo", {"retain_loss": "kl", "retain_weight": 0.0}, False, True, (1, 1)),
        ("dpo", {"retain_loss": "kl"}, True, True, (3, 3)),
        ("simnpo", {"retain_loss": "kl"}, True, True, (2, 1)),
        ("undial", {}, False, True, (1, 1)),
        ("task_vector", {}, False, False, (1, 0)),
    ],
)
def test_what_an_objective_looks_at_follows_from_its_settings(setup, name, settings, retains, uses_base, passes):
    objective, calls = OBJECTIVES[name], []
    assert (objective.retains(settings), objective.uses_base(settings)) == (retains, uses_base)
    assert objective.passes(settings) == passes
    hooks = [
        model.register_forward_pre_hook(lambda *_, which=which: calls.append(which))
        for which, model in enumerate((setup.model, setup.reference))
    ]
    setup.compute(name, **settings)
    for hook in hooks:
        hook.remove()
    assert (calls.count(0), calls.count(1)) == passes


def test_a_registered_objective_computes_and_its_name_is_taken(setup, monkeypatch):
    monkeypatch.setitem(OBJECTIVES, "mine", None)  # so that it goes again
    del OBJECTIVES["mine"]

    class Mine(ObjectiveSettings):
        factor: float = 2.0

    mine = Objective(
        loss=lambda inputs, settings: settings.factor * inputs.forget_nll(), source="a test", settings=Mine
    )
    register("mine", mine)
    assert setup.compute("mine").item() == pytest.approx(-2 * setup.compute("gradient_ascent").item(), rel=1e-6)
    assert setup.compute("mine", factor=0.0).item() == 0.0
    with pytest.raises(UnlearningError, match="objective 'mine' is registered already"):
        register("mine", mine)


def test_every_shipped_objective_names_its_source():
    assert all("arXiv" in objective.source for objective in OBJECTIVES.values())


def test_counts_are_of_what_is_predicted(setup):
    counts = StepCounts.of(setup.forget)
    assert counts.targets_N.tolist() == setup.forget.num_targets_N.tolist()
    lengths = setup.forget.num_targets_N if setup.forget.encoder_decoder else np.diff(setup.forget.offsets)
    assert counts.tokens_N.tolist() == lengths.tolist()
