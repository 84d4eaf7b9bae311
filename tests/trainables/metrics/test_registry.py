"""The registry of metrics: what a metric returns is what it says, and what it lacks is named."""

import math

import numpy as np
import pytest
import torch

from tests.trainables.metrics.shipped.scores_of import all_scores
from trainables.config import EvaluationConfig
from trainables.errors import UnlearningError
from trainables.metrics import METRICS, SHIPPED, Column, Metric, Scores, SetScores, chosen_metrics, compute, register
from trainables.metrics.chosen import DEFAULT_METRICS
from trainables.metrics.registry import OPTIONAL


@pytest.mark.parametrize("references", [0, 2])
@pytest.mark.parametrize("name", METRICS)
def test_a_metric_fills_its_columns_and_no_others(name, references):
    scores = all_scores(references=references)
    found = compute(name, scores)
    whole = {column for column, value in found.items() if not isinstance(value, np.ndarray)}
    assert whole == set(METRICS[name].columns)
    arrays = found.keys() - whole
    if references:
        assert {column.removesuffix("_N") for column in arrays} == set(METRICS[name].example_columns)
        assert all(isinstance(found[column], float) and math.isfinite(found[column]) for column in whole)
    assert all(column.endswith("_N") and found[column].shape == (6,) for column in arrays)


def test_no_two_metrics_fill_one_column():
    for table in ("columns", "example_columns"):
        names = [column for metric in SHIPPED.values() for column in getattr(metric, table)]
        assert len(names) == len(set(names))


@pytest.mark.parametrize("name", [name for name, metric in METRICS.items() if metric.reads - OPTIONAL])
def test_scores_that_lack_what_a_metric_reads_are_refused_with_its_name(name):
    full = all_scores()
    for field in METRICS[name].reads - OPTIONAL:
        sets = {
            key: SetScores(**{**vars(own), field: () if field == "perturbed" else None})
            for key, own in full.model.items()
        }
        with pytest.raises(UnlearningError, match=rf"metric '{name}': scores\.model\['\w+'\] has no {field}"):
            compute(name, Scores(model=sets, references=full.references))
    with pytest.raises(UnlearningError, match=rf"metric '{name}': scores\.model has no set "):
        compute(name, Scores(model={}))


def test_references_are_checked_where_they_are_compared_with():
    full = all_scores()
    bare = {"forget": SetScores.of([[-1.0]] * 6)}
    with pytest.raises(UnlearningError, match=r"'privleak': scores\.references\[1\] has no set 'population'"):
        compute("privleak", Scores(model=full.model, references=[full.references[0], bare]))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("min_k", {}, r"unknown metric 'min_k'; did you mean 'mia_min_k'\?"),
        ("mia_min_k", {"q": 0.1}, "metric 'mia_min_k' has no 'q'"),
        ("mia_loss", {"k": 0.1}, "metric 'mia_loss' has no 'k'; mia_min_k, mia_min_k_plus_plus, privleak have it"),
        ("mia_min_k", {"k": 0}, "metric 'mia_min_k': k.*greater than 0"),
        ("truth_ratio", {"aggregate": "mean"}, "aggregate"),
        ("mia_loss", {"compat": "tofu"}, "compat: unknown project 'tofu'"),
        ("exposure_tail", {"compat": "open-unlearning"}, "open-unlearning has no metric 'exposure_tail'; it has "),
    ],
)
def test_mistakes_are_named(name, options, message):
    with pytest.raises(UnlearningError, match=message):
        compute(name, all_scores(), **options)


def own_metric(column):
    return Metric(
        compute=lambda scores, settings, compat: {column: float(len(scores.model["forget"]))},
        columns={column: Column(unit="", meaning="number of forget examples")},
        source="this test",
    )


def test_an_own_metric_is_registered_once_and_computed_as_any(request):
    register("count", own_metric("how_many"))
    request.addfinalizer(lambda: METRICS.pop("count"))
    assert compute("count", all_scores()) == {"how_many": 6.0}
    with pytest.raises(UnlearningError, match="'count' is registered already"):
        register("count", own_metric("other"))
    with pytest.raises(UnlearningError, match="'twice': its column 'how_many' is one of metric 'count'"):
        register("twice", own_metric("how_many"))


EACH = [0.0] * 6
FAULTS = {
    "not a mapping": (3.0, r"it returned a float; return a mapping of total, each_N"),
    "a name too few": ({"total": 1.0}, "it returned total, and declares total, each_N; return every declared name"),
    "an undeclared name": ({"total": 1.0, "each_N": EACH, "status": 2.0}, "it returned total, each_N, status, and"),
    "a text": ({"total": "much", "each_N": EACH}, r"'total' is a str \('much'\); give one number, or None"),
    "an array for a number": (
        {"total": np.zeros(6), "each_N": EACH}, r"'total' is a ndarray of shape \(6,\).*; give one number, or None"
    ),
    "too few examples": ({"total": 1.0, "each_N": EACH[1:]}, r"'each_N' is a list of shape \(5,\).* of 6 numbers"),
    "None for an example": ({"total": 1.0, "each_N": [None] * 6}, r"'each_N' is a list .* dtype object; .*, NaN where"),
    "ragged": ({"total": 1.0, "each_N": [[0.0], [0.0, 1.0]]}, r"'each_N' is no array \(.*\); give an array of 6"),
    "with a gradient": ({"total": 1.0, "each_N": torch.ones(6, requires_grad=True)}, "'each_N' is no array"),
}  # fmt: skip


def declared(returned, **columns):
    columns = columns or {"columns": ["total"], "example_columns": ["each"]}
    own = {table: {name: Column(unit="", meaning="") for name in names} for table, names in columns.items()}
    return Metric(compute=lambda scores, settings, compat: returned, source="this test", **{"columns": {}, **own})


@pytest.mark.parametrize("fault", FAULTS)
def test_a_metric_that_returns_something_else_than_it_declares_is_refused(monkeypatch, fault):
    returned, said = FAULTS[fault]
    monkeypatch.setitem(METRICS, "mine", declared(returned))
    with pytest.raises(UnlearningError, match=f"metric 'mine': {said}"):
        compute("mine", all_scores())
    with pytest.raises(UnlearningError, match="metric 'mine': "):
        chosen_metrics(EvaluationConfig(metrics=["mine"]))[0].compute(all_scores())


def test_whatever_is_a_number_is_one(monkeypatch):
    monkeypatch.setitem(METRICS, "mine", declared({"total": np.float32(2), "each_N": torch.arange(6)}))
    found = compute("mine", all_scores())
    assert (found["total"], type(found["total"]), found["each_N"].tolist()) == (2.0, float, [0.0, 1, 2, 3, 4, 5])
    monkeypatch.setitem(METRICS, "mine", declared({"total": None, "each_N": [math.nan] * 6}))
    assert compute("mine", all_scores())["total"] is None


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"columns": ["performance"]}, "every row of evaluations has a column 'performance'"),
        ({"columns": ["status"]}, "every row of evaluations has a column 'status'"),
        ({"example_columns": ["nll"]}, "every row of examples has a column 'nll'"),
        ({"columns": ["mia_loss_auc"]}, "its column 'mia_loss_auc' is one of metric 'mia_loss'"),
        ({"example_columns": ["probability"]}, "its column 'probability' is one of metric 'probability'"),
        ({"columns": ["each_N"]}, "its column 'each_N' ends in _N, .* declare it as 'each' under example_columns"),
    ],
)
def test_a_column_of_something_else_is_refused_however_a_metric_is_registered(monkeypatch, columns, said):
    metric = declared({}, **columns)
    with pytest.raises(UnlearningError, match=f"metric 'mine': {said}"):
        register("mine", metric)
    assert "mine" not in METRICS
    monkeypatch.setitem(METRICS, "mine", metric)  # as an entry point is, which nothing registers
    with pytest.raises(UnlearningError, match=f"metric 'mine': {said}"):
        chosen_metrics(EvaluationConfig(metrics=["mine"]))


OF_SETS = [name for name, metric in METRICS.items() if "of" in metric.settings.model_fields]


@pytest.mark.parametrize("name", OF_SETS)
def test_other_sets_are_scored_as_the_forget_set_is(name):
    scores, metric = all_scores(), METRICS[name]
    found, plain = compute(name, scores, of=["retain", "forget", "world_facts"]), compute(name, scores)
    others = {f"{column}[{other}]" for column in metric.columns for other in ("retain", "world_facts")}
    assert found.keys() == plain.keys() | others
    for column, value in plain.items():
        np.testing.assert_array_equal(found[column], value)
    for other in ("retain", "world_facts"):
        alone = compute(name, Scores(model={"forget": scores.model[other]}))
        assert all(found[f"{column}[{other}]"] == alone[column] for column in metric.columns)
    only = compute(name, scores, of=["retain"])
    assert all(
        only[column] is None and only[f"{column}[retain]"] == found[f"{column}[retain]"] for column in metric.columns
    )
    assert all(np.isnan(only[f"{column}_N"]).all() for column in metric.example_columns)
    assert compute(name, Scores(model={"retain": scores.model["retain"]}), of=["retain"]).keys() == only.keys()


@pytest.mark.parametrize(
    ("of", "said"),
    [
        (["nowhere"], r"'rouge': scores\.model has no set 'nowhere'"),
        (["retain", "retain"], r"'rouge': of: each set once; found \['retain', 'retain'\]"),
        ([], "'rouge': of: "),
    ],
)
def test_what_is_no_choice_of_sets_is_refused(of, said):
    assert {"rouge", "probability", "probability_among_options", "truth_ratio"} < set(OF_SETS)
    with pytest.raises(UnlearningError, match=f"metric {said}"):
        compute("rouge", all_scores(), of=of)


def test_sets_of_model_utility_that_are_plain_are_kept():
    compute("model_utility", all_scores(), kept=["world_facts"])
    with pytest.raises(UnlearningError, match=r"'model_utility': plain: 'retain' is not among .*kept \(world_facts\)"):
        compute("model_utility", all_scores(), kept=["world_facts"], plain=["retain"])


def test_a_spec_chooses_by_name_or_with_settings():
    def names(metrics):
        return {one.name: dict(one.given) for one in chosen_metrics(EvaluationConfig(metrics=metrics))}

    assert list(names(None)) == list(DEFAULT_METRICS)
    assert names([]) == {}
    assert names(["mia_loss", {"mia_min_k": {"k": 0.4}}]) == {"mia_loss": {}, "mia_min_k": {"k": 0.4}}
    assert names({"mia_loss": None, "rouge": {"max_new_tokens": 5}}) == {"mia_loss": {}, "rouge": {"max_new_tokens": 5}}
    with pytest.raises(ValueError, match="'mia_loss' twice"):
        names(["mia_loss", "mia_loss"])
    with pytest.raises(UnlearningError, match=r"evaluation\.metrics: unknown metric 'loss'"):
        names(["loss"])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([["mia_loss"]], r"found \['mia_loss'\] in place of a name"),
        ([5], "found 5 in place of a name"),
        ([None], "found None in place of a name"),
        ({"rouge": False}, "'rouge: false' is neither its settings nor a way to turn it off.*leave 'rouge' out"),
        (["mia_loss", {"rouge": True}], "'rouge: true' is neither"),
        ({"rouge": 0}, "valid dictionary"),
        ({"rouge": []}, "valid dictionary"),
        ("rouge", "valid dictionary"),
    ],
)
def test_what_chooses_no_metric_is_refused_in_words(given, said):
    with pytest.raises(ValueError, match=said):
        EvaluationConfig(metrics=given)


def test_the_default_metrics_need_nothing_but_likelihoods_and_texts():
    for name in DEFAULT_METRICS:
        assert SHIPPED[name].reads <= {"logp_M", "is_top_M", "texts"}, name


def test_the_choice_of_metrics_is_part_of_an_identity_once_it_is_made():
    assert "metrics" not in EvaluationConfig().identity()
    assert EvaluationConfig(metrics=["mia_loss"]).identity()["metrics"] == {"mia_loss": {}}


def test_compat_holds_for_the_metrics_that_the_project_has():
    scores = all_scores()
    ours, theirs = (
        {one.name: one.compute(scores) for one in chosen_metrics(EvaluationConfig(compat=compat))}
        for compat in (None, "open-unlearning")
    )
    assert theirs["mia_min_k"]["mia_min_k_auc"] == compute("mia_min_k", scores, "open-unlearning")["mia_min_k_auc"]
    assert theirs["exposure_tail"] == ours["exposure_tail"]
    assert theirs["extraction_strength"] != ours["extraction_strength"]
