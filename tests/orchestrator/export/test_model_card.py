"""The model card: what it says of the floor, with as many reference models as there are."""

import json

import pytest

from orchestrator.export.model_card import model_card, write_provenance
from orchestrator.export.verification import Comparison, Verification
from orchestrator.ledger import DriverWriter, metric_row
from orchestrator.points import EvaluatedStep
from tests.orchestrator.helpers import evaluation_record, make_spec, write_sweep
from trainables.config import TrialConfig
from trainables.data import ForgetSet

GEN_EX = ("unlearning_quality", "gen_ex", "gen_ex_abs", "gen_ex_per_token")


@pytest.mark.parametrize("references", [0, 1, 2])
def test_a_card_tells_the_floor_that_is_known(tmp_path, references):
    ledger = write_sweep(tmp_path, make_spec())
    kept = [
        row
        for row in ledger.baselines().rows
        if row["model"] in ("base", "reference-0", "reference-1")[: 1 + references]
    ]
    if references == 1:
        kept = [row | (dict.fromkeys(GEN_EX) if row["model"] != "base" else {}) for row in kept]
    DriverWriter(ledger).publish_baselines(kept)
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"]}))
    trial = next(row for row in ledger.trials() if row["forget_set"] == "verses")
    verification = Verification(
        metrics={
            "gen_ex_abs": Comparison(recorded=1.0, measured=1.0),
            "rel_ex": Comparison(recorded=2.0, measured=2.0),
        },
        tolerance=0.0,
    )
    facts = write_provenance(
        folder,
        ledger,
        EvaluatedStep(trial=trial, step=1, metrics=metric_row("evaluations", evaluation_record(1).columns())),
        spec=make_spec(),
        forget_set=ForgetSet(
            name="verses", distribution="in", forget=(), population=(), distractors=(), repetitions=()
        ),
        from_step=0,
        verification=verification,
    )
    card = " ".join(model_card(facts, verification).split())
    assert ("mean RelEx 1.1 (1 to 1.2) bits" in card) == (references == 2)
    assert ("mean |GenEx|" in card) == (references == 2)
    assert ("is their mean: 1 bits. That of GenEx is not known" in card) == (references == 1)
    assert ("Reference models were trained" in card) == (references > 0)


def test_a_card_of_code_that_names_no_version_is_written():
    price = {"base": 4.0, "model": 4.5, "lost": 0.5}
    facts = {
        "sweep": "tiny",
        "trial_id": "0123456789abcdef",
        "step": 3,
        "seed": 0,
        "from_step": 0,
        "status": "completed",
        "chosen": None,
        "chosen_by": None,
        "horizon": None,
        "model": {
            "class": "LlamaForCausalLM",
            "architecture": {"model_type": "llama"},
            "pretrained": None,
            "hub_id": None,
            "revision": None,
            "chat_date": None,
            "dtype": "float32",
            "precision": "fp32",
            "lora": None,
        },
        "forget_set": {"name": "verses", "distribution": "in", "canary": None, "examples": 8},
        "config": TrialConfig(learning_rate=1e-3, batch_size=4).model_dump(mode="json"),
        "baselines": {"base": {}, "reference-0": {}},
        "floor": {},
        "prices": dict.fromkeys(("performance", "population_nll", "distractor_nll"), price),
        "hashes": {"spec_hash": "s", "workload_hash": "w", "data_hash": "d", "models": None},
        "ran_with": {"code": None, "packages": {}, "python": None, "platform": None},
        "exported_with": {
            "code": dict.fromkeys(("version", "commit", "dirty", "sources")),
            "packages": {},
            "python": "3",
            "platform": "p",
        },
        "verification": {},
    }
    card = model_card(facts, Verification(tolerance=1e-3, metrics={"rel_ex": Comparison(recorded=2.0, measured=2.0)}))
    assert "the ideal result of unlearning." in card
