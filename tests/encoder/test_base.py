"""Bases: from scratch, from a folder, and folders that cannot serve."""

import json

import pytest
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    BertTokenizer,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from unskew.common import UserError
from unskew.encoder import EncoderSettings
from unskew.encoder.base import make_base

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "oil", "goal"]
SMALL = {"vocab_size": 7, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(1)
    BertModel(BertConfig(max_position_embeddings=64, **SMALL)).to(torch.bfloat16).save_pretrained(tmp_path)
    BertTokenizer(vocab={word: index for index, word in enumerate(WORDS)}).save_pretrained(tmp_path)
    return tmp_path


def make(folder, topics, **options):
    return make_base(EncoderSettings(base=str(folder), **{"max_tokens": 64, **options}), topics, [], seed=0)


def test_a_folder_gives_its_weights_in_float32_and_the_topics_names(folder, topics):
    model, tokenizer = make(folder, topics)
    body = BertModel.from_pretrained(folder, dtype=torch.float32)
    assert torch.equal(model.bert.encoder.layer[0].output.dense.weight, body.encoder.layer[0].output.dense.weight)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert model.config.id2label == dict(enumerate(topics.names))
    assert tokenizer.model_max_length == 64


def test_a_sentence_encoder_gets_its_mean_layer(folder, topics):
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    assert make(folder, topics)[0].config.num_hidden_layers == 2


def test_new_weights_depend_on_the_seed_alone(settings, topics, train):
    texts = [record.text for record in train]
    first, _ = make_base(settings, topics, texts, seed=3)
    torch.manual_seed(99)
    state = torch.get_rng_state()
    second, _ = make_base(settings, topics, texts, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    other, _ = make_base(settings, topics, texts, seed=4)
    assert torch.equal(first.classifier.weight, second.classifier.weight)
    assert not torch.equal(first.classifier.weight, other.classifier.weight)


def test_more_tokens_than_positions_are_refused(folder, topics):
    with pytest.raises(UserError, match="64 positions"):
        make(folder, topics, max_tokens=65)


def test_the_roberta_family_loses_positions_to_padding(folder, topics):
    config = RobertaConfig(max_position_embeddings=66, pad_token_id=1, **SMALL)
    RobertaForSequenceClassification(config).save_pretrained(folder)
    make(folder, topics, max_tokens=64)
    with pytest.raises(UserError, match="64 positions"):
        make(folder, topics, max_tokens=65)


def test_a_classifier_of_other_topics_gets_a_new_head(folder, topics):
    config = RobertaConfig(max_position_embeddings=66, num_labels=9, **SMALL)  # pyright: ignore[reportCallIssue]
    RobertaForSequenceClassification(config).save_pretrained(folder)
    assert make(folder, topics)[0].classifier.out_proj.out_features == len(topics)


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_a_classifiers_outputs_go_to_the_topics_of_their_names(kind, folder, topics):
    labels = [*reversed(topics.names), "chess"]
    named = {"id2label": dict(enumerate(labels)), "label2id": {name: i for i, name in enumerate(labels)}}
    if kind == "bert":
        model = BertForSequenceClassification(BertConfig(max_position_embeddings=64, **named, **SMALL))
    else:
        model = RobertaForSequenceClassification(RobertaConfig(max_position_embeddings=66, **named, **SMALL))
    model.eval().save_pretrained(folder)
    ids = torch.tensor([[2, 5, 6, 3]])
    wanted = model(input_ids=ids).logits[:, [labels.index(name) for name in topics.names]]
    torch.testing.assert_close(make(folder, topics)[0](input_ids=ids).logits, wanted)


@pytest.mark.parametrize(("recipe", "said"), [("phases", 1), ("tuned", 0), ("probe", 0)])
def test_outputs_of_the_base_are_told_where_training_starts_from_them(folder, topics, recipe, said, caplog):
    caplog.set_level("INFO")
    named = dict(enumerate(topics.names))
    BertForSequenceClassification(BertConfig(max_position_embeddings=64, id2label=named, **SMALL)).save_pretrained(
        folder
    )
    make(folder, topics, recipe=recipe)
    assert caplog.text.count("the base's own outputs for 3 of the 3 topics") == said


def test_topics_that_a_classifier_does_not_know_begin_anew(folder, topics):
    config = BertConfig(max_position_embeddings=64, id2label={0: "chess", 1: "sport"}, **SMALL)
    known = BertForSequenceClassification(config)
    known.save_pretrained(folder)
    weight = make(folder, topics)[0].classifier.weight
    sport = topics.index("sport")
    assert torch.equal(weight[sport], known.classifier.weight[1])
    others = [row for row in range(len(topics)) if row != sport]
    assert (weight[others, None] != known.classifier.weight[None]).all()
    assert (weight[others].std(dim=1) > 0).all()


def test_what_was_done_to_a_bases_outputs_is_not_done_to_ours(folder, topics):
    theirs = {"problem_type": "multi_label_classification", "function_to_apply": "sigmoid", "num_labels": 3}
    config = BertConfig(max_position_embeddings=64, **theirs, **SMALL)
    BertForSequenceClassification(config).save_pretrained(folder)
    config = make(folder, topics)[0].config
    assert config.problem_type == "single_label_classification"
    assert not hasattr(config, "function_to_apply")


def test_a_folder_that_cannot_serve_is_named(folder, topics):
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=str(folder)):
        make(folder, topics)
