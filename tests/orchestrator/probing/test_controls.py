"""What base and reference models are measured against when they are probed beside a point."""

from types import SimpleNamespace

import pytest

from orchestrator.preparation import ModelTask
from orchestrator.probing.measuring import references_of, sets_of
from orchestrator.probing.subjects import UNLEARNED, Subject
from tests.trainables.probes.probed import sets_of as sets_with


@pytest.mark.parametrize(
    ("references", "role", "compared"),
    [
        (0, "base", []),
        (0, UNLEARNED, []),
        (1, UNLEARNED, [0]),
        (1, "reference-0", [0]),
        (2, "base", [0, 1]),
        (2, "reference-0", [1]),
        (2, "reference-1", [0]),
    ],
)
def test_a_reference_model_is_compared_with_the_others_and_the_only_one_with_itself(references, role, compared):
    sets = sets_with("causal", references)
    roles = ["base", *(f"reference-{i}" for i in range(references))]
    inputs = SimpleNamespace(tasks=[ModelTask(role=role, seed=0, key="k") for role in roles])
    start = SimpleNamespace(workload=SimpleNamespace(evaluation_sets={"verses": sets}))
    subject = Subject(role=role, forget_set="verses", distribution="in")
    assert references_of(subject, inputs) == [f"reference-{i}" for i in compared]
    found = sets_of(subject, inputs, start).references
    assert len(found) == len(compared)
    assert all(ours is sets.references[i] for ours, i in zip(found, compared, strict=True))
