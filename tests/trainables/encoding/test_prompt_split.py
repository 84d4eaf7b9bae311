"""Where the target begins: tokens and likelihoods compared with plain Transformers, by tokenizer family."""

from functools import cache

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM, T5Config, T5ForConditionalGeneration

from tests.support import PROPERTY, tiny_examples, tiny_tokenizer
from tests.trainables.tokenizers_of import CAUSAL, PAIRS, llama2, llama3, qwen
from trainables.data import Example
from trainables.encoding import Form, collate, encode
from trainables.encoding.prompt_split import leading_tokens, special_tokens_around, tokenize_and_split
from trainables.encoding.tokenization import _begin_texts_with
from trainables.errors import UnlearningError
from trainables.metrics import score_batch

TEXTS = [
    ("The king of", " Israel went forth unto the sea"),
    ("number", "s are upon the earth"),
    ("He said ", "unto him, Go"),
    ("And the LORD spake unto Moses, saying,\n", "\nSpeak unto the children"),
    ("cafe", "\u0301 noir"),
    ("the \ufb01rst", "\ufb01sh of the sea"),
    ("one", "  two spaces"),
    ("ab\u65e5\u672c", "\u8a9e \u2603 snow"),
    ("x\U0001f469\u200d", "\U0001f4bb codes"),
    ("12", "345 of them"),
    ("", "In the beginning God created the heaven"),
    ("", " In the beginning"),
]
EXAMPLES = [Example(example_id=str(i), prompt=p, completion=c) for i, (p, c) in enumerate(TEXTS)]


@cache
def tokenizer_of(family):
    return {**CAUSAL, **PAIRS}[family]()


@cache
def llama(size):
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=size, initializer_range=0.5, **shape)).eval()


def plain_text(tokenizer, example):
    """Return the tokens of Transformers, without those after the text, and where the target begins."""
    encoding = tokenizer(example.text, return_special_tokens_mask=True)
    tokens, special = encoding["input_ids"], encoding["special_tokens_mask"]
    while special and special[-1]:
        tokens, special = tokens[:-1], special[:-1]
    leading = len(special) - len(list(dropwhile_one(special)))
    first = leading
    if example.prompt:
        first = first_token(encoding, len(example.prompt), len(example.text))
    if not leading and tokenizer.bos_token_id is not None:
        return [tokenizer.bos_token_id, *tokens], first + 1
    return tokens, first


def first_token(encoding, start, end):
    """The first token of a character from ``start`` on; a token of a space alone may have a span without it."""
    first = next(token for token in map(encoding.char_to_token, range(start, end)) if token is not None)
    while first and (span := encoding.token_to_chars(first - 1)) and span.start == span.end > start:
        first -= 1
    return first


def dropwhile_one(mask):
    rest = list(mask)
    while rest and rest[0]:
        rest.pop(0)
    return rest


def plain_nll(model, tokens, first):
    """Return the NLL from the loss that Transformers computes."""
    ids = torch.tensor([tokens])
    labels = torch.tensor([[-100] * first + tokens[first:]])
    with torch.no_grad():
        return model(input_ids=ids, labels=labels).loss.item()


def tokens_of(encoded, index=0):
    return encoded.tokens[encoded.offsets[index] : encoded.offsets[index + 1]].tolist()


def nll_of(model, encoded, index=0):
    with torch.no_grad():
        return score_batch(model, collate(encoded, [index])).nll_per_token().item()


def starts_somewhere(tokenizer, example):
    return bool(leading_tokens(tokenizer)) or plain_text(tokenizer, example)[1] > 0


@pytest.mark.parametrize("family", CAUSAL)
def test_texts_are_those_of_plain_transformers(family):
    tokenizer = tokenizer_of(family)
    model = llama(len(tokenizer))
    examples = [example for example in EXAMPLES if starts_somewhere(tokenizer, example)]
    assert len(examples) >= len(EXAMPLES) - 2
    encoded = encode(tokenizer, examples, max_tokens=100)
    for index, example in enumerate(examples):
        tokens, first = plain_text(tokenizer, example)
        assert (tokens_of(encoded, index), encoded.target_starts_N[index]) == (tokens, first), example
        assert nll_of(model, encoded, index) == pytest.approx(plain_nll(model, tokens, first), abs=1e-5)


CHATS = {
    "inst": "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]"
    "{% else %} {{ m['content'] }} {{ eos_token }}{% endif %}{% endfor %}",
    "turns": "{% for m in messages %}<{{ m['role'] }}>\n{{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>\n{% endif %}",
    "joined": "{% for m in messages %}{{ m['role'] }}:{{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}",
}


@pytest.mark.parametrize("template", CHATS)
@pytest.mark.parametrize("family", CAUSAL)
def test_chats_are_those_of_plain_transformers(family, template):
    tokenizer = CAUSAL[family]()
    tokenizer.chat_template = CHATS[template]
    model = llama(len(tokenizer))
    examples = [example for example in EXAMPLES if example.prompt]
    encoded = encode(tokenizer, examples, max_tokens=100, form=Form.CHAT)
    for index, example in enumerate(examples):
        question = [{"role": "user", "content": example.prompt}]
        chat = [*question, {"role": "assistant", "content": example.completion}]
        encoding = tokenizer.apply_chat_template(chat, return_dict=True)
        answer_at = len(tokenizer.apply_chat_template(question, tokenize=False, add_generation_prompt=True))
        end = len(tokenizer.apply_chat_template(chat, tokenize=False))
        first = first_token(encoding, answer_at, end)
        assert (tokens_of(encoded, index), encoded.target_starts_N[index]) == (encoding["input_ids"], first)
        expected = plain_nll(model, encoding["input_ids"], first)
        assert nll_of(model, encoded, index) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("family", PAIRS)
def test_pairs_are_those_of_plain_transformers(family):
    tokenizer = tokenizer_of(family)
    torch.manual_seed(0)
    start = tokenizer.pad_token_id
    shape = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2, "decoder_start_token_id": start}
    model = T5ForConditionalGeneration(T5Config(vocab_size=len(tokenizer), **shape, pad_token_id=start)).eval()
    examples = [example for example in EXAMPLES if example.prompt]
    encoded = encode(tokenizer, examples, max_tokens=100, form=Form.PAIR)
    for index, example in enumerate(examples):
        inputs = tokenizer(example.prompt, text_target=example.completion, return_tensors="pt")
        assert tokens_of(encoded, index) == [*inputs["input_ids"][0].tolist(), *inputs["labels"][0].tolist()]
        assert encoded.target_starts_N[index] == inputs["input_ids"].shape[1]
        with torch.no_grad():
            expected = model(input_ids=inputs["input_ids"], labels=inputs["labels"]).loss.item()
        assert nll_of(model, encoded, index) == pytest.approx(expected, abs=1e-5)


def test_tokens_of_the_parts_would_be_others():
    """The reason to tokenize the whole text: tokenizing its parts would add a space that it does not have."""
    tokenizer = tokenizer_of("llama2")
    apart = tokenizer.encode("number", add_special_tokens=False) + tokenizer.encode("s are", add_special_tokens=False)
    given, target = tokenize_and_split(tokenizer, "numbers are", at=6)
    assert given + target == tokenizer.encode("numbers are", add_special_tokens=False) != apart


def test_a_token_that_straddles_the_boundary_is_a_target():
    tokenizer = tokenizer_of("llama2")
    (king,) = tokenizer.encode("God", add_special_tokens=False)
    for at in (1, 2):
        assert tokenize_and_split(tokenizer, "God", at=at) == ([], [king])
    given, target = tokenize_and_split(tokenizer, "the God", at=5)
    assert target == [king]
    assert given + target == tokenizer.encode("the God", add_special_tokens=False)


@pytest.mark.parametrize("family", ["gpt2", "roberta", "llama3"])
def test_spaces_belong_to_the_side_that_they_stand_on(family):
    tokenizer = tokenizer_of(family)
    for prompt, completion in (("the", "  God"), ("the ", " God"), ("the  ", "God")):
        given_tokens, target = tokenize_and_split(tokenizer, prompt + completion, at=len(prompt))
        assert tokenizer.decode(given_tokens).strip() == "the"
        spaces = {"  God": "  God", " God": " God", "God": " God"}[completion]  # the last: " God" straddles
        assert tokenizer.decode(target) == spaces


@pytest.mark.parametrize("family", ["llama2", "gemma"])
def test_the_bytes_of_one_character_stay_together(family):
    tokenizer = tokenizer_of(family)
    assert len(tokenizer.encode("\u2603", add_special_tokens=False)) >= 3
    given, target = tokenize_and_split(tokenizer, "a\u2603\u2604", at=2)
    three = [tokenizer.convert_tokens_to_ids(f"<0x{byte:02X}>") for byte in "\u2604".encode()]
    assert target == three
    assert given[-3:] == [tokenizer.convert_tokens_to_ids(f"<0x{byte:02X}>") for byte in "\u2603".encode()]


@pytest.mark.parametrize("family", CAUSAL)
@PROPERTY
@given(prompt=st.text(max_size=12), completion=st.text(min_size=1, max_size=12))
def test_no_text_loses_a_token_and_nothing_of_a_completion_is_given(family, prompt, completion):
    tokenizer = tokenizer_of(family)
    given_tokens, target = tokenize_and_split(tokenizer, prompt + completion, at=len(prompt))
    encoding = tokenizer(prompt + completion, add_special_tokens=False, return_offsets_mapping=True)
    assert given_tokens + target == encoding["input_ids"]
    for start, end in encoding["offset_mapping"][: len(given_tokens)]:
        assert end <= len(prompt) or start == end
    if prompt:
        assert all(end > len(prompt) for _, end in encoding["offset_mapping"][len(given_tokens) :][:1])


class Slow:
    """A tokenizer that cannot report which characters its tokens stand for."""

    is_fast = False

    def __init__(self, tokenizer):
        self._tokenizer = tokenizer
        self.bos_token_id = tokenizer.bos_token_id

    def encode(self, text, add_special_tokens):
        return self._tokenizer.encode(text, add_special_tokens=add_special_tokens)


@pytest.mark.parametrize("family", ["llama2", "gpt2", "qwen"])
def test_a_slow_tokenizer_gives_the_same_tokens_and_never_gives_away_a_target(family):
    tokenizer = tokenizer_of(family)
    examples = [example for example in EXAMPLES if starts_somewhere(tokenizer, example)]
    fast = encode(tokenizer, examples, max_tokens=100)
    slow = encode(Slow(tokenizer), examples, max_tokens=100)
    assert slow.tokens.tolist() == fast.tokens.tolist()
    assert (slow.target_starts_N <= fast.target_starts_N).all()
    clear = [i for i, example in enumerate(examples) if not example.prompt or example.example_id in "0"]
    assert slow.target_starts_N[clear].tolist() == fast.target_starts_N[clear].tolist()


@pytest.mark.parametrize(
    ("family", "before", "after"),
    [
        ("llama2", ["<s>"], []), ("gpt2", [], []), ("bert", ["[CLS]"], ["[SEP]"]), ("glm", ["[gMASK]", "<sop>"], []),
        ("roberta", ["<s>"], ["</s>"]), ("qwen", [], []), ("t5", [], ["</s>"]), ("xglm", ["</s>"], []),
    ],
)  # fmt: skip
def test_what_a_tokenizer_puts_around_a_text(family, before, after):
    tokenizer = tokenizer_of(family)
    found = special_tokens_around(tokenizer)
    assert tuple(map(tokenizer.convert_ids_to_tokens, found)) == (before, after)


def test_where_nothing_is_put_before_a_text_its_bos_token_is():
    assert leading_tokens(tokenizer_of("gpt2")) == [tokenizer_of("gpt2").bos_token_id]
    assert leading_tokens(tokenizer_of("phi3")) == [tokenizer_of("phi3").bos_token_id]
    assert leading_tokens(tokenizer_of("qwen")) == []


@pytest.mark.parametrize("family", [llama3, llama2, qwen])
def test_a_chosen_first_token_takes_the_place_of_the_tokenizers_own_and_is_saved(family, tmp_path):
    tokenizer = family()
    chosen = tokenizer.eos_token
    _begin_texts_with(tokenizer, chosen)
    tokenizer.save_pretrained(tmp_path)
    for one in (tokenizer, type(tokenizer).from_pretrained(tmp_path)):
        assert leading_tokens(one) == [one.convert_tokens_to_ids(chosen)]


def test_without_a_first_token_a_text_without_prompt_is_refused_with_what_to_do():
    with pytest.raises(
        UnlearningError, match=r"example '10': there is nothing to predict its first token from: .*bos_token"
    ):
        encode(tokenizer_of("qwen"), [EXAMPLES[10]], max_tokens=99)
    names = tokenizer_of("qwen").get_vocab()
    word = next(name for name in names if len(name) == 3 and name.isascii() and name.isalpha())
    with pytest.raises(UnlearningError, match=r"the prompt '..' has none .*'<\|im_end\|>'"):
        encode(tokenizer_of("qwen"), [Example(example_id="x", prompt=word[:2], completion=word[2:])], max_tokens=99)


def test_a_completion_without_a_token_is_refused():
    with pytest.raises(UnlearningError, match="its completion '  ' has no token"):
        encode(tokenizer_of("bert"), [Example(example_id="x", prompt="God", completion="  ")], max_tokens=99)


def test_an_answer_and_its_alternate_share_the_prompts_tokens():
    tokenizer = tokenizer_of("llama2")
    pairs = [
        encode(tokenizer, [Example(example_id="x", prompt="The king of", completion=c)], max_tokens=99)
        for c in (" Israel", " I do not know.")
    ]
    first, second = (tokens_of(one)[: one.target_starts_N[0]] for one in pairs)
    assert first == second


def test_tokens_of_the_tokenizer_trained_here_are_those_of_its_parts():
    """The numbers of sweeps from scratch are the same as in earlier versions, since prompts end with a word."""
    tokenizer = tiny_tokenizer()
    for example in tiny_examples(20, prompts=True):
        given_tokens, target = tokenize_and_split(tokenizer, example.text, at=len(example.prompt))
        assert given_tokens == tokenizer.encode(example.prompt, add_special_tokens=False)
        assert target == tokenizer.encode(example.completion, add_special_tokens=False)
