"""The model card of a sweep whose reference models have no floor to tell of."""

import pytest

from orchestrator.model_card import model_card
from orchestrator.verification import Comparison, Verification
from trainables.config import TrialConfig

LEVEL = {"mean": 4.0, "low": 3.0, "high": 5.0, "models": 2}
FLOORS = {
    "of two references": {"gen_ex_abs": LEVEL, "rel_ex": LEVEL},
    "of one reference, or of a sweep of an older version": {"rel_ex": LEVEL},
    "not measured": {},
}


@pytest.mark.parametrize("floor", FLOORS.values(), ids=FLOORS)
def test_the_floor_stands_in_the_card_where_it_is_known(floor):
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
        "floor": floor,
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
    assert ("mean |GenEx| 4 bits (3 to 5)" in card) == ("gen_ex_abs" in floor)
    assert "the ideal result of unlearning." in card
