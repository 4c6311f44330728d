"""Bases as the world has them, for both stages.

A text's result is the same alone and among others, and after saving and loading; or the base is refused on the command
line, in one line and with code 2, before anything is trained.
"""

import json
from types import SimpleNamespace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    GPT2Model,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaModel,
    MambaConfig,
    MambaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
    XLNetConfig,
    XLNetModel,
)

from unskew.cli.main import main
from unskew.common import paths
from unskew.corpus import Record, Topics
from unskew.decoder import DecoderSettings, GenerationSettings, TopicDecoder, fit_decoder
from unskew.encoder import EncoderSettings, TopicEncoder
from unskew.encoder.base import make_base
from unskew.runtime import train_tokenizer
from unskew.training import PhaseSettings

TOPICS = Topics(("harvest", "harbour", "football"), (4, 3, 2))
WORDS = ["wheat barley field tractor", "ship cargo crane tide", "goal keeper league stadium"]
RECORDS = [
    Record(f"{WORDS[i % 3]} number {i}", str(i), TOPICS.names[i % 3], f"{TOPICS.names[i % 3]} desk {i}")
    for i in range(9)
]
TEXTS = ["wheat", "ship cargo <|eos|> zebra9000", "goal keeper " * 40, "tide tide tide"]
SHAPE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
GPT2 = {"n_positions": 128, "n_embd": 16, "n_layer": 2, "n_head": 2}
CHAT = "{% for m in messages %}<|im|>{{ m['role'] }} {{ m['content'] }}{% endfor %}"


def tokenizer(*, pad=True, end=True, added=(), chat=None, **changes):
    made = train_tokenizer([record.text + str(record.target) for record in RECORDS] * 3, 320)
    if not pad or not end:
        marks = {"bos_token": "<|bos|>", **({"eos_token": "<|eos|>"} if end else {"pad_token": "<|pad|>"})}
        made = PreTrainedTokenizerFast(tokenizer_object=made.backend_tokenizer, **marks)
    made.add_tokens(list(added))
    made.chat_template = chat
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def save(folder, kind, config, words, *, dtype=torch.float32, change=None, **sizes):
    """A base's folder with random weights, large enough that faults show."""
    torch.manual_seed(0)
    model = kind(config(**{"vocab_size": sizes.pop("rows", len(words)), "initializer_range": 0.3, **sizes}))
    if change:
        change(model)
    model.to(dtype).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def bert(folder, words=None, kind=BertModel, **options):
    sizes = {"max_position_embeddings": 64, "pad_token_id": 0, **SHAPE, **options}
    return save(folder, kind, BertConfig, words or tokenizer(), **sizes)


def roberta(folder, **options):
    return save(folder, RobertaModel, RobertaConfig, tokenizer(), max_position_embeddings=96, **SHAPE, **options)


def llama(folder, words=None, kind=LlamaForCausalLM, **options):
    sizes = {"max_position_embeddings": 256, "pad_token_id": 0, "eos_token_id": 2, **SHAPE, **options}
    return save(folder, kind, LlamaConfig, words or tokenizer(), **sizes)


def gpt2(folder, words=None, kind=GPT2LMHeadModel, **options):
    return save(folder, kind, GPT2Config, words or tokenizer(), **{**GPT2, "pad_token_id": None, **options})


def adapter(folder, base, task, targets):
    model = get_peft_model(base, LoraConfig(task_type=task, r=2, target_modules=targets))
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def with_code_of_its_own(folder):
    bert(folder)
    config = json.loads((folder / "config.json").read_text())
    own = {"auto_map": {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"}, "model_type": "own"}
    (folder / "config.json").write_text(json.dumps({**config, **own}))
    (folder / "own.py").write_text("raise SystemExit('the code of a base was run')")
    return folder


def nan(model):
    next(model.parameters()).data[3] = float("nan")


def lacking(model):
    """Weights of the first layer are kept under names that no model has."""
    plain = model.save_pretrained
    state = {name.replace("layer.0", "layer.9"): value for name, value in model.state_dict().items()}
    state = {name.replace("layers.0", "layers.9"): value for name, value in state.items()}
    model.save_pretrained = lambda folder: plain(folder, state_dict=state)


NAMED = {"id2label": dict(enumerate(["football", "harvest", "chess"]))}
CLASSIFIER = {"kind": BertForSequenceClassification}

GOOD_ENCODERS = {
    "plain": bert,
    "no limit": lambda f: bert(f, tokenizer(model_max_length=int(1e30))),
    "limit -1": lambda f: bert(f, tokenizer(model_max_length=-1)),
    "limit below the model's": lambda f: bert(f, tokenizer(model_max_length=20)),
    "bfloat16": lambda f: bert(f, dtype=torch.bfloat16),
    "float16": lambda f: bert(f, dtype=torch.float16),
    "padding on the left": lambda f: bert(f, tokenizer(padding_side="left")),
    "tokens without rows": lambda f: bert(f, tokenizer(added=["zebra9000", "cargo "]), rows=318),
    "spare rows": lambda f: bert(f, rows=400),
    "bert, other padding": lambda f: bert(f, pad_token_id=20),
    "roberta": lambda f: roberta(f, pad_token_id=0),
    "roberta, other padding": lambda f: roberta(f, pad_token_id=20),
    "llama, padding in the tokenizer alone": lambda f: llama(f, kind=LlamaModel, pad_token_id=None),
    "llama, other padding": lambda f: llama(f, kind=LlamaModel, pad_token_id=20),
    "llama, no padding": lambda f: llama(f, tokenizer(pad=False), LlamaModel, pad_token_id=None),
    "gpt2, no padding, on the left": lambda f: gpt2(f, tokenizer(pad=False, padding_side="left"), GPT2Model),
    "gpt2, other padding": lambda f: gpt2(f, kind=GPT2Model, pad_token_id=20),
    "classifier": lambda f: bert(f, **CLASSIFIER, **NAMED),
    "many labels at once": lambda f: bert(f, **CLASSIFIER, **NAMED, problem_type="multi_label_classification"),
    "regression": lambda f: bert(f, **CLASSIFIER, num_labels=1, problem_type="regression"),
    "own activation": lambda f: bert(f, **CLASSIFIER, **NAMED, function_to_apply="sigmoid"),
}

BAD_ENCODERS = {
    "adapter": (
        lambda f: adapter(f, BertForSequenceClassification(BertConfig(**SHAPE)), "SEQ_CLS", ["query"]),
        "adapter",
    ),
    "code of its own": (with_code_of_its_own, "custom code"),
    "NaN": (lambda f: bert(f, change=nan), "not finite"),
    "lacks weights": (lambda f: bert(f, change=lacking), "lacks 16"),
    "reads padding": (
        lambda f: save(f, XLNetModel, XLNetConfig, tokenizer(), d_model=16, n_layer=1, n_head=2, d_inner=16),
        "does not mask padding",
    ),
}

GOOD_DECODERS = {
    "untied": llama,
    "tied": lambda f: llama(f, tie_word_embeddings=True),
    "bfloat16": lambda f: llama(f, dtype=torch.bfloat16),
    "padding in the tokenizer alone": lambda f: llama(f, pad_token_id=None),
    "other padding": lambda f: llama(f, pad_token_id=20),
    "no padding, on the right": lambda f: llama(f, tokenizer(pad=False, padding_side="right"), pad_token_id=None),
    "no limit": lambda f: llama(f, tokenizer(model_max_length=int(1e30))),
    "limit -1": lambda f: llama(f, tokenizer(model_max_length=-1)),
    "tokens without rows": lambda f: llama(f, tokenizer(added=["zebra9000", "cargo "]), rows=318),
    "tokens without rows, tied": lambda f: llama(f, tokenizer(added=["zebra9000"]), rows=318, tie_word_embeddings=True),
    "spare rows": lambda f: llama(f, rows=400),
    "chat": lambda f: llama(f, tokenizer(added=["<|im|>"], chat=CHAT)),
    "positions learnt": gpt2,
    "positions by the mask": lambda f: save(
        f, OPTForCausalLM, OPTConfig, tokenizer(), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        ffn_dim=32, word_embed_proj_dim=16, max_position_embeddings=256, pad_token_id=0,
    ),
}  # fmt: skip

BAD_DECODERS = {
    "adapter": (lambda f: adapter(f, LlamaForCausalLM(LlamaConfig(vocab_size=320, **SHAPE)), "CAUSAL_LM", ["q_proj"]),
                "adapter"),
    "code of its own": (with_code_of_its_own, "custom code"),
    "template that raises": (lambda f: llama(f, tokenizer(chat="{{ raise_exception('no system') }}")), "no system"),
    "template that is broken": (lambda f: llama(f, tokenizer(chat="{% for m in messages %}")), "chat template"),
    "template under other names": (lambda f: llama(f, tokenizer(chat={"rag": CHAT, "tool_use": CHAT})), "no default"),
    "no end": (lambda f: llama(f, tokenizer(end=False)), "no end token"),
    "few positions": (lambda f: llama(f, max_position_embeddings=64), "but the base"),
    "NaN": (lambda f: llama(f, change=nan), "not finite"),
    "lacks weights": (lambda f: llama(f, change=lacking), "lacks 9"),
    "no language model": (lambda f: bert(f, max_position_embeddings=256), "lacks"),
    "one that PEFT does not adapt": (
        lambda f: save(
            f, MambaForCausalLM, MambaConfig, tokenizer(), hidden_size=16, num_hidden_layers=1, state_size=4
        ),
        "adaptation lora",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD_ENCODERS)
def test_an_encoder_says_the_same_of_a_text_alone_among_others_and_loaded(name, tmp_path):
    base = GOOD_ENCODERS[name](tmp_path / "base")
    model, words = make_base(EncoderSettings(base=str(base), max_tokens=48), TOPICS, [], seed=0)
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    encoder = TopicEncoder(model, words, 48)
    encoder.save_pretrained(tmp_path / "saved")
    loaded = TopicEncoder.from_pretrained(tmp_path / "saved")
    assert (loaded.topics, loaded.max_tokens) == (TOPICS.names, 48)
    together = encoder.logits(TEXTS)
    alone = torch.cat([encoder.logits([text]) for text in TEXTS])
    torch.testing.assert_close(alone, together, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(loaded.logits(TEXTS), together, atol=1e-4, rtol=1e-4)
    assert together.std(dim=0).min() > 1e-4  # a text makes a difference at all


@pytest.mark.parametrize("name", GOOD_DECODERS)
def test_a_decoder_does_likewise(name, tmp_path):
    base = GOOD_DECODERS[name](tmp_path / "base")
    settings = DecoderSettings(
        base=str(base), max_tokens=96, max_target_tokens=12, rank=2, prompt="plain",
        noisy=PhaseSettings(epochs=0), clean=PhaseSettings(epochs=1, learning_rate=1e-3),
        trainer={"accelerator": "cpu", "devices": 1},
    )  # fmt: skip
    decoder = fit_decoder(RECORDS, RECORDS[:3], None, TOPICS, settings, tmp_path / "work")
    decoder.save_pretrained(tmp_path / "saved")
    loaded = TopicDecoder.from_pretrained(tmp_path / "saved", device="cpu")
    together = decoder.topic_logits(TEXTS)
    alone = torch.cat([decoder.topic_logits([text]) for text in TEXTS])
    size = together.abs().max().item()
    torch.testing.assert_close(alone, together, atol=1e-4 * size, rtol=1e-4)
    torch.testing.assert_close(loaded.topic_logits(TEXTS), together, atol=1e-4 * size, rtol=1e-4)
    short, topics = GenerationSettings(max_new_tokens=4), [*TOPICS.names, "harvest"]
    written = loaded.generate(TEXTS, topics, short)
    assert written == [loaded.generate([text], [topic], short)[0] for text, topic in zip(TEXTS, topics, strict=True)]


def refused(capsys, stage, base, train, output, *more):
    """The one line that the command line ends with."""
    options = [f"--{stage}.base", str(base), "--encoder.max_tokens", "48"]
    options += (
        ["--decoder", "null"] if stage == "encoder" else ["--decoder.max_tokens", "96", "--decoder.prompt", "plain"]
    )
    with pytest.raises(SystemExit) as ended:
        main(["fit", "--data.train", str(train), "--output", str(output), *options, *more])
    assert ended.value.code == 2
    *_, line = (lines := capsys.readouterr().err.strip().splitlines())
    assert [told for told in lines if told.startswith("unskew: ")] == [line]
    assert not output.exists()
    return line


@pytest.mark.parametrize("name", BAD_ENCODERS)
def test_an_encoder_that_cannot_be_is_refused(name, capsys, corpus, tmp_path):
    make, reason = BAD_ENCODERS[name]
    line = refused(capsys, "encoder", make(tmp_path / "base"), corpus / "train.jsonl", tmp_path / "out")
    assert reason in line
    assert str(tmp_path / "base") in line


@pytest.mark.parametrize("name", BAD_DECODERS)
def test_a_decoder_that_cannot_be_is_refused_before_the_encoder_is_fitted(name, capsys, corpus, tmp_path):
    make, reason = BAD_DECODERS[name]
    line = refused(capsys, "decoder", make(tmp_path / "base"), corpus / "train.jsonl", tmp_path / "out")
    assert reason in line
    assert not list((tmp_path / "out.work").glob("encoder/*"))


def test_a_disk_without_room_for_checkpoints_is_refused_before_anything_is_trained(
    capsys, corpus, tmp_path, monkeypatch
):
    base = llama(tmp_path / "base", hidden_size=64, intermediate_size=512)
    whole = sum(path.stat().st_size for path in base.glob("*.safetensors"))
    monkeypatch.setattr(paths, "LEAST_FREE", 1)
    monkeypatch.setattr(paths.shutil, "disk_usage", lambda folder: SimpleNamespace(free=4 * whole))
    train, output = corpus / "train.jsonl", tmp_path / "out"
    assert "GB are needed" in refused(capsys, "decoder", base, train, output, "--decoder.adaptation", "full")
    assert not list((tmp_path / "out.work").glob("encoder/*"))
