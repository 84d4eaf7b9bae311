"""Reading a sweep's inputs: its data is drawn or read, and tokenized; its models are named. It loads PyTorch."""

from datetime import date

from orchestrator.preparation.inputs import SweepInputs
from orchestrator.preparation.model_identity import datasets_of, model_tasks, workload_hash
from orchestrator.preparation.scored_tokens import scored_sets
from orchestrator.spec import SweepSpec, dated, settled_lengths, settled_sizes, unbounded
from trainables.encoding import asks_for_the_date
from trainables.preparation import encode_retained, prepare_tokenizer, tokens_hash


def read_inputs(spec: SweepSpec, chat_date: date | None) -> SweepInputs:
    """Return the inputs of a spec: see ``SweepInputs.of``."""
    datasets = datasets_of(spec)
    spec, notes = settled_sizes(spec, len(datasets.retain))
    tokenizer = prepare_tokenizer(spec.model, datasets)
    if not (spec.model.chat_template and asks_for_the_date(tokenizer)):
        chat_date = None
    reading = dated(unbounded(spec), chat_date)
    encoded = scored_sets(reading, datasets, tokenizer)
    retained = encode_retained(tokenizer, datasets, model=reading.model, data=reading.data)
    spec, more = settled_lengths(spec, {**encoded, **retained})
    tasks = model_tasks(spec, datasets)
    return SweepInputs(
        spec=spec,
        datasets=datasets,
        tasks=tasks,
        workload_hash=workload_hash(spec, datasets, tasks),
        tokenizer=tokenizer,
        encoded=encoded,
        retained=retained,
        notes=(*notes, *more),
        tokens_hash=tokens_hash(encoded),
        chat_date=chat_date,
    )
