"""Kinds of pretrained bodies without a head: what a probe reads of them is what their sentence encoders pool."""

import json

import pytest
import torch
from torch.nn import functional
from transformers import (
    AlbertConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    BertConfig,
    CamembertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    ModernBertConfig,
    MPNetConfig,
    RobertaConfig,
    XLMRobertaConfig,
)

from unskew.encoder import EncoderSettings, TopicEncoder
from unskew.encoder.base import make_base
from unskew.encoder.layers import freeze_all_but_layers, head_names
from unskew.encoder.output_layer import output_layer
from unskew.encoder.pass_through import LIFT, REACH, SCALE
from unskew.encoder.pooling import POOLER, STRENGTH, mean_layer
from unskew.encoder.tokens import pad, tokenize
from unskew.runtime import train_tokenizer

WIDTH = 32
SHAPE = {"num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 80, "initializer_range": 0.3}
RELATIVE = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_buckets": 8}
KINDS = {
    "albert": (AlbertConfig, {"embedding_size": 16}),
    "bert": (BertConfig, {}),
    "camembert": (CamembertConfig, {}),
    "deberta-v2": (DebertaV2Config, {}),
    "deberta-v3": (DebertaV2Config, {**RELATIVE, "share_att_key": True, "position_biased_input": False}),
    "distilbert": (DistilBertConfig, {"hidden_dim": 64}),
    "electra": (ElectraConfig, {"embedding_size": 16}),
    "modernbert": (ModernBertConfig, {"classifier_pooling": "mean"}),
    "mpnet": (MPNetConfig, {}),
    "roberta": (RobertaConfig, {}),
    "xlm-roberta": (XLMRobertaConfig, {}),
}
GELU = ("deberta-v2", "deberta-v3", "electra")
WITH_MEAN_LAYER = [kind for kind in KINDS if kind not in ("albert", "modernbert")]
TEXTS = ["goal", "crude oil barrel", "judge verdict trial appeal jury penalty", "striker " * 20]


def save(folder, kind, train, pooling=None):
    """A body of this kind with random weights, as a sentence encoder's folder."""
    tokenizer = train_tokenizer([record.text for record in train], 320)
    tokenizer.save_pretrained(folder)
    config, sizes = KINDS[kind]
    marks = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
    torch.manual_seed(0)
    body = AutoModel.from_config(
        config(**{**SHAPE, "hidden_size": WIDTH, "intermediate_size": 64, **marks, "eos_token_id": None, **sizes})
    )
    body.pooler = None  # as most sentence encoders are saved
    if kind == "mpnet":
        torch.nn.init.zeros_(body.encoder.relative_attention_bias.weight)  # else its mean is a weighted one
    body.save_pretrained(folder)
    if pooling:
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": pooling}))
    return folder


def make(folder, topics):
    return TopicEncoder(*make_base(EncoderSettings(str(folder), max_tokens=64), topics, [], seed=0), 64)


def plain_states(folder, encoder):
    """First state (n, d) and mean (n, d) of the texts, by the body alone and one text at a time."""
    body = AutoModel.from_pretrained(folder).eval()
    rows = tokenize(encoder.tokenizer, TEXTS, 64)
    with torch.no_grad():
        states = [body(input_ids=torch.tensor([row])).last_hidden_state[0] for row in rows]
    return torch.stack([state[0] for state in states]), torch.stack([state.mean(0) for state in states])


def normed(features):
    return functional.layer_norm(features, (features.shape[-1],))


def passed_on(kind, pooled, scale=SCALE):
    """What the head makes of pooled features."""
    if kind == "distilbert":
        return torch.relu(LIFT * (1 + pooled / REACH))
    if kind == "modernbert":
        return normed(functional.gelu(scale * pooled))
    return functional.gelu(scale * pooled) if kind in GELU else torch.tanh(scale * pooled)


def likeness(features, pooled):
    """Correlation over the dimensions, of each text."""
    return functional.cosine_similarity(
        features - features.mean(-1, keepdim=True), pooled - pooled.mean(-1, keepdim=True)
    )


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("bert", "albert")])
def test_a_body_that_declares_the_first_token_is_read_by_it(kind, train, topics, tmp_path, caplog):
    encoder = make(save(tmp_path, kind, train, "cls"), topics)
    first, _ = plain_states(tmp_path, encoder)
    torch.testing.assert_close(encoder.features(TEXTS), passed_on(kind, first), atol=1e-4, rtol=1e-3)
    assert likeness(encoder.features(TEXTS), first).min() > 0.98
    assert not [record for record in caplog.records if record.name == "unskew" and record.levelname == "WARNING"]


@pytest.mark.parametrize("kind", ["bert", "albert"])
def test_a_pooler_that_is_not_in_the_files_passes_features_on(kind, train, topics, tmp_path):
    encoder = make(save(tmp_path, kind, train), topics)
    first, _ = plain_states(tmp_path, encoder)
    torch.testing.assert_close(encoder.features(TEXTS), passed_on(kind, first), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("kind", WITH_MEAN_LAYER)
def test_a_body_that_declares_the_mean_is_read_by_it(kind, train, topics, tmp_path):
    encoder = make(save(tmp_path, kind, train, "mean"), topics)
    first, mean = plain_states(tmp_path, encoder)
    expected = passed_on(kind, normed(first + STRENGTH * mean), POOLER if kind == "bert" else SCALE)
    torch.testing.assert_close(encoder.features(TEXTS), expected, atol=1e-3, rtol=1e-3)
    assert likeness(encoder.features(TEXTS), mean).min() > 0.95


def test_a_modernbert_takes_the_mean_by_its_setting(train, topics, tmp_path):
    encoder = make(save(tmp_path, "modernbert", train, "mean"), topics)
    _, mean = plain_states(tmp_path, encoder)
    torch.testing.assert_close(encoder.features(TEXTS), passed_on("modernbert", mean), atol=1e-3, rtol=1e-3)


def test_a_kind_that_cannot_take_the_mean_says_so_in_one_line(train, topics, tmp_path, caplog):
    make(save(tmp_path, "albert", train, "mean"), topics)
    (line,) = [record.getMessage() for record in caplog.records if record.name == "unskew"]
    assert f"{tmp_path} declares mean pooling, which a AlbertForSequenceClassification cannot do" in line


@pytest.mark.parametrize("kind", [*WITH_MEAN_LAYER, "modernbert"])
def test_plain_transformers_reads_what_is_saved_to_the_same_logits(kind, train, topics, tmp_path):
    encoder = make(save(tmp_path / "base", kind, train, "mean"), topics)
    encoder.save_pretrained(tmp_path / "saved")
    plain, info = AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    inputs = pad(tokenize(encoder.tokenizer, TEXTS, 64), encoder.tokenizer.pad_token_id)
    with torch.no_grad():
        torch.testing.assert_close(plain.eval()(**inputs).logits, encoder.model(**inputs).logits)
    read = TopicEncoder.from_pretrained(tmp_path / "saved").logits(TEXTS)
    torch.testing.assert_close(read, encoder.logits(TEXTS), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", WITH_MEAN_LAYER)
def test_tuning_leaves_what_only_passes_features_on(kind, train, topics, tmp_path):
    model = make(save(tmp_path, kind, train, "mean"), topics).model
    name, output = output_layer(model)
    freeze_all_but_layers(model, output)
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert trained & head_names(model) == {f"{name}.weight", f"{name}.bias"}
    assert not any(weight.requires_grad for weight in mean_layer(model).parameters())
    assert trained > head_names(model) & trained


def test_lifted_features_are_not_dropped_out(train, topics, tmp_path):
    encoder = make(save(tmp_path, "distilbert", train, "mean"), topics)
    assert encoder.model.config.seq_classif_dropout == 0
    assert encoder.model.dropout.p == 0
