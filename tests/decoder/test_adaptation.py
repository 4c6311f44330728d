import pytest
import torch
from safetensors.torch import load_file

from unskew.common import UserError
from unskew.decoder import ControlTokens, DecoderSettings, TrainableParameters, merge
from unskew.decoder.adaptation import adapt, finish, trainable_parameters
from unskew.decoder.base import load_model, load_tokenizer
from unskew.decoder.control import make_rows

TOPICS = ("oil", "wheat")


def adapted(folder, **changes):
    model, tokenizer = load_model(folder), load_tokenizer(folder)
    control = ControlTokens.add(tokenizer, TOPICS)
    make_rows(model, tokenizer, control, new=control.ids)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    settings = DecoderSettings(base="x", rank=2, blocks=1, **changes)
    return adapt(model, control, settings), control, before


def train(model, control):
    """One large step on a sequence that uses every control token."""
    ids = torch.tensor([[5, control.fairness_id, control.topic_ids[0], 7, control.topic_ids[1], 9, 3]])
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    for _ in range(2):  # LoRA's second matrix starts at zero, so its first learns from the second step on
        optimizer.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
    return model(input_ids=ids).logits.detach()


def changed(before, after):
    """Names of changed weights; of a matrix of embeddings, which rows."""
    names = {}
    for name, old in before.items():
        rows = (old != after[name]).reshape(len(old), -1).any(dim=1).nonzero().flatten().tolist()
        if rows:
            names[name] = rows
    return names


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("spare", [0, 40])
@pytest.mark.parametrize("adaptation", ["lora", "top_blocks"])
def test_of_the_embedding_only_control_rows_are_trained(tied, spare, adaptation, make_base, tmp_path):
    model, control, before = adapted(make_base(tmp_path, tied=tied, spare=spare), adaptation=adaptation)
    logits = train(model, control)
    plain = merge(model)
    touched = changed(before, plain.state_dict())
    for matrix in ("model.embed_tokens.weight", "lm_head.weight"):
        assert set(touched.pop(matrix)) <= set(control.ids)
    layers = {name.split(".")[2] for name in touched}
    assert layers == ({"2"} if adaptation == "top_blocks" else {"0", "1", "2"})
    assert (plain.get_input_embeddings().weight is plain.get_output_embeddings().weight) == tied
    ids = torch.tensor([[5, control.fairness_id, control.topic_ids[0], 7, control.topic_ids[1], 9, 3]])
    torch.testing.assert_close(plain(input_ids=ids).logits, logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("spare", [0, 40])
def test_the_adapter_on_disk_holds_no_embedding_matrix(tied, spare, make_base, tmp_path):
    folder = make_base(tmp_path / "base", tied=tied, spare=spare)
    model, control, _ = adapted(folder)
    model.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    weights = load_file(file)
    embeddings = [value for name, value in weights.items() if "lora" not in name]
    assert [len(value) for value in embeddings] == [len(control.ids)] * (1 if tied else 2)
    facts = trainable_parameters(model, "lora")
    assert facts.adapter_bytes == pytest.approx(file.stat().st_size, abs=100)  # PEFT adds a line of metadata
    assert facts.trainable == sum(value.numel() for value in weights.values())


def test_facts_count_what_is_trained(shared_base):
    full, _, before = adapted(shared_base, adaptation="full")
    assert trainable_parameters(full, "full").share == 1
    blocks, control, _ = adapted(shared_base, adaptation="top_blocks")
    one_block = sum(v.numel() for name, v in before.items() if ".layers.2." in name)
    rows = len(control.ids) * 16
    assert trainable_parameters(blocks, "top_blocks").trainable == one_block + rows
    assert trainable_parameters(blocks, "top_blocks").adapter_bytes is None


def test_more_blocks_than_there_are(shared_base):
    model, tokenizer = load_model(shared_base), load_tokenizer(shared_base)
    control = ControlTokens.add(tokenizer, TOPICS)
    make_rows(model, tokenizer, control, new=control.ids)
    with pytest.raises(UserError, match="has only 3"):
        adapt(model, control, DecoderSettings(base="x", adaptation="top_blocks", blocks=4))


def test_finishing_leaves_a_lora_adapter_and_merges_the_rest(shared_base):
    lora, *_ = adapted(shared_base)
    assert finish(lora) is lora
    blocks, *_ = adapted(shared_base, adaptation="top_blocks")
    assert type(finish(blocks)).__name__ == "LlamaForCausalLM"


def test_facts_are_said_in_words():
    facts = TrainableParameters("lora", 41_792, 257_152, 170_824)
    assert str(facts) == "lora: 41,792 of 257,152 parameters train (16.3%); the adapter takes 0.2 MB on disk"
    assert "disk" not in str(TrainableParameters("full", 10, 10, None))
