"""Tokenizers: trained on the data for a model built from scratch, or loaded with a pretrained model."""

from collections.abc import Iterable
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from trainables.config import ModelConfig
from trainables.encoding.chat import require_fixed_template
from trainables.encoding.prompt_split import special_tokens_around
from trainables.errors import UnlearningError
from trainables.models import pretrained_tokenizer

BOS, PAD, EOS = "<s>", "<pad>", "</s>"


def train_tokenizer(texts: Iterable[str], vocab_size: int, *, encoder_decoder: bool = False) -> Any:
    """Train a byte-level BPE tokenizer, which can encode any text. Deterministic in its arguments.

    For encoder-decoder models it ends every text with an EOS token, as the tokenizers of Transformers do.
    """
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[BOS, PAD, EOS] if encoder_decoder else [BOS, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    if not encoder_decoder:
        return PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token=BOS, pad_token=PAD)
    bpe.post_processor = processors.TemplateProcessing(single=f"$A {EOS}", special_tokens=[(EOS, bpe.token_to_id(EOS))])
    return PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token=BOS, pad_token=PAD, eos_token=EOS)


def load_tokenizer(config: ModelConfig) -> Any:
    """Load the tokenizer of a pretrained model, with the BOS token and chat template that the configuration asks for.

    Raises:
        UnlearningError: the tokenizer cannot be loaded, or lacks the BOS token or chat template.
    """
    tokenizer = pretrained_tokenizer(config)
    if config.bos_token is not None:
        if config.bos_token not in tokenizer.get_vocab():
            raise UnlearningError(
                f"model.bos_token: the tokenizer of '{config.pretrained}' has no token '{config.bos_token}'; it has "
                f"the special tokens {', '.join(map(repr, tokenizer.all_special_tokens))}"
            )
        _begin_texts_with(tokenizer, config.bos_token)
    if config.chat_template and not tokenizer.chat_template:
        raise UnlearningError(
            f"model.chat_template: the tokenizer of '{config.pretrained}' has no chat template; leave it out, or give "
            f"an instruction-tuned model"
        )
    if config.chat_template:
        require_fixed_template(tokenizer)
    return tokenizer


def _begin_texts_with(tokenizer: Any, token: str) -> None:
    """Make ``token`` the BOS token, and replace what the tokenizer puts before every text with it."""
    tokenizer.bos_token = token
    before, after = special_tokens_around(tokenizer)
    if before and before != [tokenizer.bos_token_id] and tokenizer.is_fast:
        ending = tokenizer.convert_ids_to_tokens(after)
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single=[token, "$A", *ending],
            special_tokens=[(name, tokenizer.convert_tokens_to_ids(name)) for name in {token, *ending}],
        )
