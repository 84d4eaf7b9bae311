from .answer_sets import AnswerSets
from .batches import IGNORE, Batch, BatchOrder, batches_by_length, collate
from .chat import asks_for_the_date
from .encoded_sets import EncodedSet, Form, encode
from .streaming import BatchSource, StreamedSet, encode_or_stream
from .tokenization import load_tokenizer, train_tokenizer

__all__ = [
    "IGNORE",
    "AnswerSets",
    "Batch",
    "BatchOrder",
    "BatchSource",
    "EncodedSet",
    "Form",
    "StreamedSet",
    "asks_for_the_date",
    "batches_by_length",
    "collate",
    "encode",
    "encode_or_stream",
    "load_tokenizer",
    "train_tokenizer",
]
