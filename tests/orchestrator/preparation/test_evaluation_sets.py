"""Other answers and further sets on their way from a user's files to the trials."""

import pytest

from orchestrator.cli.tables import plan_table
from orchestrator.ledger import Ledger
from orchestrator.plan import plan_sweep
from orchestrator.preparation import ModelCache, SweepInputs, build_workload, train_model
from orchestrator.storage import LocalStorage
from tests.orchestrator.helpers import make_spec
from tests.support import tiny_model, tiny_tokenizer
from tests.trainables.files import own_cache, pairs, write_rows
from trainables.models import save_model

assert own_cache  # a fixture
pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def spec(tmp_path):
    """A sweep of a user's files, with other answers to forgotten and further questions."""
    save_model(tiny_model(), tiny_tokenizer(), tmp_path / "base")

    def source(name, count, **answers):
        return {"path": str(write_rows(tmp_path / f"{name}.jsonl", [row | answers for row in pairs(count, name)]))}

    return make_spec(
        model={"architecture": None, "pretrained": str(tmp_path / "base")},
        preparation={"epochs": 0, "learning_rate": 1e-3},
        data={
            "retain": None, "retain_source": source("retain", 12), "retain_evaluation": 4,
            "heldout": None, "heldout_source": source("heldout", 8),
            "forget_sets": {
                "own": {
                    "distribution": "in",
                    "source": source("forget", 4, paraphrase=" in other words", perturbed=[" no", " never"]),
                    "population_source": source("population", 8),
                }
            },
            "evaluation_sets": {"facts": {"source": source("facts", 9, perturbed=[" not so"])}},
        },
    )  # fmt: skip


def test_they_are_in_the_evaluation_sets_of_trials(spec, tmp_path):
    inputs = SweepInputs.of(spec)
    cache, ledger = ModelCache(LocalStorage(tmp_path)), Ledger(storage=LocalStorage(tmp_path / "tiny"), sweep="tiny")
    train_model(spec, inputs.datasets, inputs.tasks[0], cache, ledger, tokens=inputs.tokens_hash)
    workload, _ = build_workload(spec, inputs.datasets, inputs.tasks, cache, ledger, tokens=inputs.tokens_hash)
    sets = workload.evaluation_sets["own"]
    assert {name: (len(found.original), len(found.perturbed)) for name, found in sets.answers.items()} == {
        "forget": (4, 2), "facts": (9, 1)
    }  # fmt: skip
    assert sets.answers["forget"].original is sets.forget
    assert len(sets.answers["forget"].paraphrase) == 4
    assert sets.answers["facts"].paraphrase is None


def test_the_plan_counts_them_and_names_their_lengths(spec):
    inputs = SweepInputs.of(spec)
    plan = plan_sweep(spec, concurrent_trials=1, inputs=inputs)
    (facts,) = (one for one in plan.sets if one.part == "facts")
    assert (facts.forget_set, facts.examples) == (None, 9)
    assert facts.longest_tokens > 0
    assert plan_sweep(spec, concurrent_trials=1).sets[-1].examples == 9
    assert plan_table(plan)
