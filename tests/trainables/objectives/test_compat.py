"""``compat: open-unlearning`` against that project's formulas, written out position by position from its description.

Its batches are padded, and some of its means are over padding: the formulas below see what a model says of the whole
padded batch.
"""

import pytest
import torch

from tests.support import tiny_encoded, tiny_model, tiny_trial, tiny_workload
from tests.trainables.oracles import all_settings, cross_entropy, kl, led_away, nll, preference, total
from trainables.config import COMPATS
from trainables.encoding import IGNORE, collate
from trainables.objectives import OBJECTIVES, compute
from trainables.trial import Engine

COMPAT = "open-unlearning"
SETTINGS = {
    "gradient_ascent": [{}],
    "gradient_difference": [{"forget_weight": 0.7, "retain_weight": 1.3}],
    "npo": [{}, {"beta": 0.7}],
    "simnpo": [{"beta": 2.5, "delta": 0.5}],
    "dpo": [{"beta": 0.3}],
    "wga": [{"beta": 0.5}],
    "satimp": [{"beta1": 0.4, "beta2": 1.5}],
    "undial": [{"beta": 3.0, "retain_weight": 1.0}],
    "ceu": [{}],
}
CASES = [
    (name, {**settings, **({"retain_loss": retain} if retain else {})})
    for name, variants in SETTINGS.items()
    for settings in variants
    for retain in ((None,) if name in ("gradient_ascent", "ceu") else ("nll", "kl"))
]


def first_is_a_target(batch):
    """Some data has no prompt: then the first token is a target that nothing predicts."""
    batch["labels"][0] = torch.where(batch["attention_mask"][0] == 1, batch["input_ids"][0], IGNORE)
    return batch


@pytest.fixture(scope="module")
def given():
    sets = [tiny_encoded(n, seed=seed) for n, seed in ((4, 1), (3, 2), (4, 3))]
    forget, retain, alternate = (first_is_a_target(collate(encoded, range(len(encoded)))) for encoded in sets)
    return tiny_model(seed=0), tiny_model(seed=5).requires_grad_(False), forget, retain, alternate


def logits(model, batch):
    return model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits.double()


def scored(batch, i):
    """Where a label of example i is predicted: pairs of the position that predicts it and the label."""
    labels = batch["labels"][i].tolist()
    return [(t, label) for t, label in enumerate(labels[1:]) if label != IGNORE]


def each_nll(model, batch):
    rows = logits(model, batch)
    return [[nll(rows[i, t], label) for t, label in scored(batch, i)] for i in range(len(rows))]


def token_mean(values):
    return total([value for example in values for value in example]) / sum(map(len, values))


def sums(model, batch):
    return [total(example) for example in each_nll(model, batch)]


def retain_term(kind, model, reference, batch):
    if kind == "nll":
        return token_mean(each_nll(model, batch))
    ours, theirs = (logits(m, batch).flatten(0, 1) for m in (model, reference))
    return total([kl(theirs[n], ours[n]) for n in range(len(ours))]) / len(ours)


def forget_term(name, s, model, reference, forget, alternate):
    values = each_nll(model, forget)
    match name:
        case "gradient_ascent" | "gradient_difference":
            return -token_mean(values)
        case "npo":
            pairs = zip(sums(model, forget), sums(reference, forget), strict=True)
            return total([preference(ours - theirs, s["beta"]) for ours, theirs in pairs]) / 4
        case "dpo":
            parts = [sums(m, batch) for batch in (forget, alternate) for m in (model, reference)]
            margins = [lost - lost_ref - (won - won_ref) for lost, lost_ref, won, won_ref in zip(*parts, strict=True)]
            return total([preference(margin, s["beta"]) for margin in margins]) / 4
        case "simnpo":
            lengths = (forget["labels"] != IGNORE).sum(-1).tolist()  # of all labels, predicted or not
            means = [total(example) / n for example, n in zip(values, lengths, strict=True)]
            return total([preference(mean - s["delta"], s["beta"]) for mean in means]) / 4
        case "wga":
            return -token_mean([[(-v.detach()).exp() ** s["beta"] * v for v in example] for example in values])
        case "satimp":
            p = lambda v: (-v.detach()).exp()  # noqa: E731
            weighted = [[p(v) ** s["beta1"] * (1 - p(v)) ** s["beta2"] * v for v in example] for example in values]
            return -token_mean(weighted)
        case "undial":
            ours, theirs = logits(model, forget), logits(reference, forget)
            ways = [
                cross_entropy(led_away(theirs[i, t], int(forget["labels"][i, t + 1]), s["beta"]), ours[i, t])
                for i in range(ours.shape[0])
                for t in range(ours.shape[1] - 1)  # prompts and padding too: their label is -100, counted from the end
            ]
            return total(ways) / len(ways)
        case "ceu":
            ours, ways = logits(model, forget), []
            for i in range(len(ours)):
                firsts = (forget["labels"][i] != IGNORE).nonzero().flatten().tolist()[:1]  # unshifted
                kept = [(t, label) for t, label in scored(forget, i) if t + 1 not in firsts]
                ways += [cross_entropy(led_away(ours[i, t], label, float("inf")), ours[i, t]) for t, label in kept]
            return total(ways) / len(ways)
    raise AssertionError(name)


def norm_of_gradient(model, loss):
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    return float(torch.sqrt(sum((gradient.double() ** 2).sum() for gradient in gradients)))


def test_every_objective_of_the_project_is_checked():
    assert SETTINGS.keys() == {name for name, objective in OBJECTIVES.items() if COMPAT in objective.compats}
    assert COMPATS == (COMPAT,)


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_losses_and_gradient_norms_are_the_projects(given, name, settings):
    model, reference, forget, retain, alternate = given
    batches = {"retain_batch": retain, "alternate_batch": alternate}
    found = compute(name, model, forget, reference_model=reference, compat=COMPAT, **batches, **settings)
    s = all_settings(name, settings)
    expected = s.get("forget_weight", 1.0) * forget_term(name, s, model, reference, forget, alternate)
    if s.get("retain_weight"):
        expected = expected + s["retain_weight"] * retain_term(s["retain_loss"], model, reference, retain)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5, abs=1e-6)
    assert norm_of_gradient(model, found) == pytest.approx(norm_of_gradient(model, expected), rel=1e-5)


@pytest.mark.parametrize(
    ("name", "settings"), [("simnpo", {"beta": 0.2}), ("undial", {}), ("wga", {"retain_loss": "kl"})]
)
def test_it_differs_from_our_own_reductions_where_codebases_do(given, name, settings):
    model, reference, forget, retain, _ = given
    losses = [
        compute(name, model, forget, reference_model=reference, retain_batch=retain, compat=compat, **settings).item()
        for compat in (COMPAT, None)
    ]
    assert losses[0] != pytest.approx(losses[1], rel=1e-4)


def test_micro_batches_are_averaged_each_by_itself():
    """5 examples in parts of 2, 2 and 1: the step is along the mean of three means."""
    workload, settings = tiny_workload(forget=5), {"objective": "wga", "objective_settings": {"retain_loss": "kl"}}
    trial = tiny_trial(batch_size=5, micro_batch_size=2, learning_rate=0.1, clip_norm=None, compat=COMPAT, **settings)
    engine = Engine(workload)
    ascent = engine.start(trial)
    step = ascent._plan.step(1)
    assert [len(forget) for forget, _ in step.parts] == [2, 2, 1]
    model = workload.base.build()
    for part in step.micro_batches(torch.device("cpu")):
        loss = compute(
            "wga", model, part.forget, reference_model=workload.base.build(), retain_batch=part.retain, compat=COMPAT,
            retain_loss="kl",
        )  # fmt: skip
        (loss / 3).backward()
    ascent.advance(1)
    for found, parameter in zip(engine.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(found, parameter - 0.1 * parameter.grad, rtol=1e-5, atol=1e-6)
