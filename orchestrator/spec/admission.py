"""What of a ledger the present spec admits: after ``resume --force`` a sweep holds rows of an earlier one too."""

import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.ledger import Ledger
from orchestrator.spec.sweep_spec import SweepSpec


def of_present_spec(ledger: Ledger, spec: SweepSpec, rows: pa.Table) -> pa.Table:
    """Leave out rows of forget sets that the spec does not name, with a remark; of evaluations, see ``on_axis`` too."""
    if "step" in rows.column_names:
        rows = on_axis(spec, rows)
    admitted = pc.is_in(rows["forget_set"], pa.array(list(spec.data.forget_sets)))
    foreign = sorted(set(rows["forget_set"].filter(pc.invert(admitted)).to_pylist()))
    if foreign:
        named = ", ".join(map(repr, foreign[:5])) + (", ..." if len(foreign) > 5 else "")
        ledger.remark(f"rows of forget sets that the present spec does not name are left out ({named})")
    return rows.filter(admitted)


def on_axis(spec: SweepSpec, evaluations: pa.Table) -> pa.Table:
    """Leave out the base model's rows, of step 0, where 0 is no step of the axis.

    Every trial has such a row, so that what was before unlearning stands beside what came after. It is no result of the
    trial: no frontier, price, importance or count may rest on it.
    """
    return evaluations if 0 in spec.steps else evaluations.filter(pc.greater(evaluations["step"], 0))
