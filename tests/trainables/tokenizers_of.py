"""Small tokenizers of the families that pretrained models use, trained on verses of the King James Version.

Each has the normalizer, pre-tokenizer and post-processor of its family; only the vocabulary is small.
"""

from functools import cache

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from trainables.config import CorpusConfig
from trainables.data.corpora import load_corpus

GPT4 = Regex(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


@cache
def verses() -> tuple[str, ...]:
    return tuple(verse.completion for verse in load_corpus(CorpusConfig())[:400])


def _template(before: str, after: str, tokenizer: Tokenizer) -> processors.TemplateProcessing:
    names = [*before.split(), *after.split()]
    return processors.TemplateProcessing(
        single=f"{before} $A {after}".strip(), special_tokens=[(name, tokenizer.token_to_id(name)) for name in names]
    )


def _sentencepiece_bpe(special: list[str]) -> Tokenizer:
    """SentencePiece's BPE: spaces are written as ▁, and what the vocabulary lacks as bytes."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    trained.train_from_iterator(
        verses(), trainers.BpeTrainer(vocab_size=500, special_tokens=[*special, *BYTES], show_progress=False)
    )
    learned = trained.to_str()
    tokenizer = Tokenizer.from_str(learned.replace('"byte_fallback":false', '"byte_fallback":true'))
    tokenizer.pre_tokenizer = None
    return tokenizer


def _byte_bpe(special: list[str], pre_tokenizer: pre_tokenizers.PreTokenizer) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        verses(),
        trainers.BpeTrainer(vocab_size=500, special_tokens=special, initial_alphabet=alphabet, show_progress=False),
    )
    return tokenizer


def _unigram(special: list[str], normalizer: normalizers.Normalizer) -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.train_from_iterator(
        verses(),
        trainers.UnigramTrainer(vocab_size=400, special_tokens=special, unk_token="<unk>", show_progress=False),
    )
    return tokenizer


def llama2() -> PreTrainedTokenizerFast:
    """Llama 2 and Mistral: a space is put before the text by the normalizer."""
    tokenizer = _sentencepiece_bpe(["<unk>", "<s>", "</s>"])
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.post_processor = _template("<s>", "", tokenizer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )


def mistral() -> PreTrainedTokenizerFast:
    """Newer Mistral, and Llama 2 not "legacy": the space is Metaspace's, and before the first word only."""
    tokenizer = _sentencepiece_bpe(["<unk>", "<s>", "</s>"])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.post_processor = _template("<s>", "", tokenizer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )


def phi3() -> PreTrainedTokenizerFast:
    """Phi 3: as Llama 2, but nothing is put before a text, though there is a BOS token."""
    tokenizer = _sentencepiece_bpe(["<unk>", "<s>", "<|endoftext|>"])
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="<|endoftext|>", pad_token="<unk>"
    )


def gemma() -> PreTrainedTokenizerFast:
    """Gemma: spaces become ▁, and none is put before the text."""
    tokenizer = _sentencepiece_bpe(["<pad>", "<eos>", "<bos>", "<unk>"])
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.post_processor = _template("<bos>", "", tokenizer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<bos>", eos_token="<eos>", pad_token="<pad>"
    )


def gpt2() -> PreTrainedTokenizerFast:
    """GPT-2: bytes; nothing is put before a text."""
    tokenizer = _byte_bpe(["<|endoftext|>"], pre_tokenizers.ByteLevel(add_prefix_space=False))
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<|endoftext|>", eos_token="<|endoftext|>")


def roberta() -> PreTrainedTokenizerFast:
    """RoBERTa: bytes, with a space before the text, and spans of tokens without their space."""
    tokenizer = _byte_bpe(["<s>", "<pad>", "</s>"], pre_tokenizers.ByteLevel(add_prefix_space=True))
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        cls_token="<s>",
        sep_token="</s>",
        pad_token="<pad>",
    )


def llama3() -> PreTrainedTokenizerFast:
    """Llama 3: bytes after a split by GPT-4's pattern."""
    split = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(GPT4, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer = _byte_bpe(["<|begin_of_text|>", "<|eot_id|>"], split)
    tokenizer.post_processor = processors.Sequence(
        [processors.ByteLevel(trim_offsets=True), _template("<|begin_of_text|>", "", tokenizer)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|begin_of_text|>", eos_token="<|eot_id|>", pad_token="<|eot_id|>"
    )


def qwen() -> PreTrainedTokenizerFast:
    """Qwen 2: bytes after NFC; there is no BOS token."""
    split = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(GPT4, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer = _byte_bpe(["<|endoftext|>", "<|im_start|>", "<|im_end|>"], split)
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>")


def bloom() -> PreTrainedTokenizerFast:
    """BLOOM: bytes after a split of its own; BOS is there, and not put before a text."""
    split = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r" ?[^(\s|[.,!?…。，、।۔،])]+"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer = _byte_bpe(["<unk>", "<s>", "</s>", "<pad>"], split)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )


def falcon() -> PreTrainedTokenizerFast:
    """Falcon: punctuation and digits are split off; no BOS token."""
    split = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Punctuation("contiguous"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
            pre_tokenizers.Digits(individual_digits=False),
        ]
    )
    tokenizer = _byte_bpe([">>TITLE<<", "<|endoftext|>"], split)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>")


def bert() -> PreTrainedTokenizerFast:
    """BERT: lower case and WordPiece; no token holds a space; [CLS] before and [SEP] after a text, and no BOS token."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    tokenizer.train_from_iterator(
        verses(), trainers.WordPieceTrainer(vocab_size=500, special_tokens=special, show_progress=False)
    )
    tokenizer.post_processor = _template("[CLS]", "[SEP]", tokenizer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]"
    )


def xglm() -> PreTrainedTokenizerFast:
    """XGLM: Unigram after NFKC; what it puts before a text is not its BOS token."""
    tokenizer = _unigram(["<s>", "<pad>", "</s>", "<unk>"], normalizers.NFKC())
    tokenizer.post_processor = _template("</s>", "", tokenizer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )


def glm() -> PreTrainedTokenizerFast:
    """GLM 4: two tokens before a text, and no BOS token."""
    split = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(GPT4, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer = _byte_bpe(["<|endoftext|>", "[gMASK]", "<sop>"], split)
    tokenizer.post_processor = _template("[gMASK] <sop>", "", tokenizer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>", pad_token="<|endoftext|>")


def t5() -> PreTrainedTokenizerFast:
    """T5: Unigram after NFKC, spaces joined; </s> after a text."""
    spaces = normalizers.Replace(Regex(" {2,}"), " ")
    tokenizer = _unigram(["<pad>", "</s>", "<unk>"], normalizers.Sequence([normalizers.NFKC(), spaces]))
    tokenizer.post_processor = _template("", "</s>", tokenizer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>", pad_token="<pad>")


CAUSAL = {
    family.__name__: family
    for family in (
        llama2, mistral, phi3, gemma, gpt2, roberta, llama3, qwen, bloom, falcon, bert, xglm, glm,
    )
}  # fmt: skip
PAIRS = {family.__name__: family for family in (t5, roberta, bert, xglm)}
