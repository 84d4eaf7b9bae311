"""What models know before unlearning, by forget set and model."""

from orchestrator.ledger import Baselines, DriverWriter

MODELS = ("base", "reference-0", "reference-1", "copy")


def test_a_models_row_is_found_by_its_forget_set():
    rows = [{"model": model, "forget_set": name} for name in ("verses", "people") for model in MODELS]
    baselines = Baselines(rows)
    assert baselines.of("people") == rows[4:]
    assert baselines.base("people") == rows[4]
    assert baselines.references("people") == rows[5:7]
    assert baselines.copying("people") == rows[7]


def test_where_nothing_was_measured_there_is_no_row(ledger):
    rows = [{"model": "base", "forget_set": "verses", "performance": 3.0, "rel_ex": 2.0, "unlearning_quality": 4.0}]
    assert ledger.baselines().base("verses") is None
    DriverWriter(ledger).publish_baselines(rows)
    found = ledger.baselines()
    assert found.base("verses")["unlearning_quality"] == 4.0
    assert (found.base("people"), found.references("verses"), found.copying("verses")) == (None, [], None)
