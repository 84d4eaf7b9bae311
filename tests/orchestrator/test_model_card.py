"""The model card: what it says of the floor, with as many reference models as there are."""

import json

import pytest

from orchestrator.model_card import describe, model_card
from orchestrator.points import Point
from orchestrator.verification import Comparison, Verification
from tests.orchestrator.helpers import evaluation_record, make_spec, write_sweep
from trainables.forget_sets import ForgetSet

GEN_EX = ("unlearning_quality", "gen_ex", "gen_ex_abs", "gen_ex_per_token")


@pytest.mark.parametrize("references", [0, 1, 2])
def test_a_card_tells_the_floor_that_is_known(tmp_path, references):
    ledger = write_sweep(tmp_path, make_spec())
    kept = [
        row for row in ledger.baselines() if row["model"] in ("base", "reference-0", "reference-1")[: 1 + references]
    ]
    if references == 1:
        kept = [row | (dict.fromkeys(GEN_EX) if row["model"] != "base" else {}) for row in kept]
    ledger.publish_baselines(kept)
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
    facts = describe(
        folder,
        ledger,
        Point(trial=trial, step=1, metrics=vars(evaluation_record(1))),
        spec=make_spec(),
        forget_set=ForgetSet(
            name="verses", distribution="in", forget=(), population=(), distractors=(), repetitions=()
        ),
        from_step=0,
        verification=verification,
    )
    card = " ".join(model_card(facts, verification).split())
    assert ("mean RelEx 1.1 bits (1 to 1.2)" in card) == (references == 2)
    assert ("mean |GenEx|" in card) == (references == 2)
    assert ("the only one has RelEx 1 bits; GenEx has no floor" in card) == (references == 1)
    assert ("Reference models were trained" in card) == (references > 0)
