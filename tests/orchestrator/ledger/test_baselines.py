"""What models know before unlearning, by forget set and model."""

from orchestrator.ledger import Baselines, DriverWriter

MODELS = ("base", "reference-0", "reference-1", "copy")


def test_a_models_row_is_found_by_its_forget_set():
    rows = [{"model": model, "forget_set": name, "replicate": 0} for name in ("verses", "people") for model in MODELS]
    baselines = Baselines(rows)
    assert baselines.of("people") == rows[4:]
    assert baselines.base("people") == rows[4]
    assert baselines.references("people") == rows[5:7]
    assert baselines.copying("people") == rows[7]


def test_where_nothing_was_measured_there_is_no_row(ledger):
    known = {"performance": 3.0, "rel_ex": 2.0, "unlearning_quality": 4.0}
    rows = [{"model": "base", "forget_set": "verses", "replicate": 0, **known}]
    assert ledger.baselines().base("verses") is None
    DriverWriter(ledger).publish_baselines(rows)
    found = ledger.baselines()
    assert found.base("verses")["unlearning_quality"] == 4.0
    assert (found.base("people"), found.references("verses"), found.copying("verses")) == (None, [], None)


def test_the_base_model_of_all_replicates_is_their_mean():
    rows = [
        {"model": "base", "forget_set": "verses", "replicate": replicate, "rel_ex": 2.0 + replicate, "bleu": bleu}
        for replicate, bleu in enumerate((None, 1.0))
    ]
    baselines = Baselines(rows)
    assert [baselines.base("verses", replicate) for replicate in range(3)] == [*rows, None]
    mean = {"model": "base", "forget_set": "verses", "replicate": None, "rel_ex": 2.5, "bleu": None}
    assert baselines.base("verses") == mean
    assert baselines.in_replicate(1).base("verses") == rows[1]
