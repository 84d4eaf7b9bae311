"""Which rows of a ledger belong to the present spec: after ``resume --force`` there are rows of an earlier one too."""

import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.ledger import Ledger
from orchestrator.spec.sweep_spec import SweepSpec


def of_present_spec(ledger: Ledger, spec: SweepSpec, rows: pa.Table) -> pa.Table:
    """Return the rows of forget sets and replicates that the spec has, and of evaluations those ``on_axis``. What is
    left out of other forget sets is remarked on."""
    if "step" in rows.column_names:
        rows = on_axis(spec, rows)
    admitted = pc.is_in(rows["forget_set"], pa.array(list(spec.data.unlearned)))
    foreign = sorted(set(rows["forget_set"].filter(pc.invert(admitted)).to_pylist()))
    if "replicate" in rows.column_names:
        admitted = pc.and_(admitted, pc.less(rows["replicate"], spec.replicates))
    if foreign:
        named = ", ".join(map(repr, foreign[:5])) + (", ..." if len(foreign) > 5 else "")
        ledger.remark(f"rows of forget sets that the present spec does not name are left out ({named})")
    return rows.filter(admitted)


def on_axis(spec: SweepSpec, evaluations: pa.Table) -> pa.Table:
    """Return the evaluations without the base model's rows, at step 0, unless 0 is a step of the axis.

    Every trial has such a row, so that what was before unlearning stands beside what came after. It is not a result of
    the trial: no frontier, price, importance or count may use it.
    """
    return evaluations if 0 in spec.steps else evaluations.filter(pc.greater(evaluations["step"], 0))
