import json
import shutil

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
)

from unskew.common import UserError
from unskew.decoder import GenerationSettings, TopicDecoder
from unskew.decoder.sequences import pad_left
from unskew.runtime import TextTokenizer, train_tokenizer
from unskew.runtime.prepacked import PrepackedLinear, packable

TEXTS = [
    "Today Ada spoke of prices.",
    "",
    "Bob " * 40,
    "a\0b 😀 مرحبا",
    "<|topic:oil|> <force_fairness>",
    "Cy",
    "Dee " * 9,
]
TOPICS = ["oil", "wheat", "oil", "wheat", "wheat", "oil", "oil"]
SHORT = GenerationSettings(max_new_tokens=12)


@pytest.fixture(scope="module")
def decoder(shared_base, make_decoder):
    return make_decoder(shared_base)


def test_outputs_do_not_depend_on_the_batch(decoder):
    together = decoder.generate(TEXTS, TOPICS, SHORT)
    alone = [decoder.generate([text], [topic], SHORT)[0] for text, topic in zip(TEXTS, TOPICS, strict=True)]
    assert together == alone
    assert len(set(together)) > 3
    backwards = decoder.generate(TEXTS[::-1], TOPICS[::-1], GenerationSettings(12, tokens_per_batch=120))
    assert backwards[::-1] == together


def test_an_output_longer_than_the_base_has_positions_is_refused_before_a_text_is_read(tmp_path, make_decoder):
    """Past its learned positions, a GPT-2 has no embedding to look up."""
    tokenizer = train_tokenizer(TEXTS, 330)
    ids = {f"{name}_token_id": tokenizer.eos_token_id for name in ("eos", "bos", "pad")}
    GPT2LMHeadModel(
        GPT2Config(vocab_size=len(tokenizer), n_positions=128, n_embd=16, n_layer=2, n_head=2, **ids)
    ).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    decoder = make_decoder(tmp_path)
    decoder.max_target_tokens = 16
    longest = GenerationSettings(max_new_tokens=128 - decoder.max_tokens - 1)  # 1 for the topic
    for options in (GenerationSettings(), longest):
        assert len(decoder.generate([TEXTS[2] * 9], ["oil"], options)) == 1
    for options, fairness in ((longest, True), (GenerationSettings(max_new_tokens=200), False)):
        with pytest.raises(UserError, match=r"has 128 positions, of which the longest prompt leaves 3[01]; reduce it"):
            decoder.check_options(options, fairness)


def test_the_output_matrix_is_given_contiguous_rows(decoder):
    """For a slice, such as the last position of each row, torch would copy the matrix for each row."""
    head, seen = decoder.model.get_output_embeddings(), []
    watching = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].is_contiguous()))
    decoder.generate(["wheat", "a longer text about wheat"], ["wheat", "oil"])
    decoder.topic_logits(["wheat", "a longer text about wheat"])
    watching.remove()
    assert len(seen) > 2
    assert all(seen)


def test_the_topic_counts(decoder):
    assert decoder.generate(["Cy"], ["oil"], SHORT) != decoder.generate(["Cy"], ["wheat"], SHORT)
    assert decoder.generate(["Cy"], ["oil"], SHORT) != decoder.generate(["Cy"], ["oil"], SHORT, fairness=True)


def test_a_temperature_may_be_a_whole_number_and_the_least_one_is_nearly_greedy(decoder):
    whole, decimal, least = (
        decoder.generate(TEXTS, TOPICS, GenerationSettings(12, sample=True, temperature=temperature))
        for temperature in (1, 1.0, 1e-3)
    )
    assert whole == decimal
    assert least == decoder.generate(TEXTS, TOPICS, SHORT)


def test_sampling_is_seeded_row_by_row(decoder):
    options = GenerationSettings(12, sample=True, temperature=1.5, seed=3)
    together = decoder.generate(TEXTS, TOPICS, options)
    assert together == decoder.generate(TEXTS, TOPICS, options)
    assert together[5:6] == decoder.generate(TEXTS[5:6], TOPICS[5:6], options)
    assert together != decoder.generate(TEXTS, TOPICS, GenerationSettings(12, sample=True, temperature=1.5, seed=4))


def test_a_watcher_sees_each_output_grow_and_may_end_it(decoder):
    whole = decoder.generate(TEXTS, TOPICS, SHORT)
    seen = {i: [] for i in range(len(TEXTS))}

    def watch(row, ids):
        seen[row].append(list(ids))
        return row != 2 or len(ids) < 3

    assert [out for i, out in enumerate(decoder.generate(TEXTS, TOPICS, SHORT, watch=watch)) if i != 2] == [
        out for i, out in enumerate(whole) if i != 2
    ]
    for i, steps in seen.items():
        assert [len(ids) for ids in steps] == list(range(1, len(steps) + 1))
        assert decoder.text_of(steps[-1]) == whole[i] or i == 2
    assert len(seen[2]) == 3


def test_greedy_outputs_are_those_of_plain_steps(decoder):
    """Against a loop that knows nothing of generate, padding or caches."""
    ids = decoder._sequencer.prompts(["Cy"])[0] + [decoder.control.topic_id("oil")]
    start = len(ids)
    for _ in range(12):
        logits = decoder.model(input_ids=torch.tensor([ids])).logits[0, -1].detach()
        logits[list(decoder.control.ids)] = -torch.inf
        ids.append(int(logits.argmax()))
        if ids[-1] == decoder.tokenizer.eos_token_id:
            break
    expected = decoder.tokenizer.decode(ids[start:], skip_special_tokens=True).strip()
    assert decoder.generate(["Cy"], ["oil"], SHORT) == [expected]


def test_control_tokens_are_never_written(shared_base, monkeypatch, make_decoder):
    decoder = make_decoder(shared_base)
    rows = torch.tensor(decoder.control.ids)
    tokens = decoder.model.get_input_embeddings().token_adapter
    with torch.no_grad():  # the tied rows now win every step
        tokens.trainable_tokens_delta["default"].normal_(std=20)
    inputs = pad_left([[5, 6, 7]], 0)
    assert int(decoder.model(**inputs).logits[0, -1].argmax()) in rows.tolist()
    seen = []
    decode = decoder.tokenizer.decode
    monkeypatch.setattr(decoder.tokenizer, "decode", lambda ids, **options: seen.append(ids) or decode(ids, **options))
    decoder.generate(["Cy"], ["oil"], SHORT)
    assert seen[0]
    assert not {*seen[0]} & {*decoder.control.ids}


def test_what_is_never_written_are_control_tokens_and_rows_without_a_token(tmp_path, make_decoder):
    """Also where a word's id is larger than the size of the vocabulary, because some below it are unused."""
    words = {"[UNK]": 0, "[END]": 1, "oil": 2, "cargo": 9}
    inner = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="[UNK]", eos_token="[END]", extra_special_tokens=["cargo"]
    )
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=10, **shape)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    decoder = make_decoder(tmp_path)
    assert decoder.control.ids == (10, 11, 12)
    rows = len(decoder.model.get_input_embeddings().weight)
    assert {*decoder.never_written} == {*range(rows)} - {*words.values()}


def test_a_base_with_sliding_windows_does_not_obey_its_own_generation_settings(tmp_path, make_decoder):
    tokenizer = train_tokenizer(TEXTS, 330)
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(0)
    model = MistralForCausalLM(
        MistralConfig(
            vocab_size=len(tokenizer), **shape, num_key_value_heads=1, sliding_window=8, initializer_range=0.3
        )
    )
    tokenizer.save_pretrained(tmp_path)
    written = []
    for penalty in (1.0, 5.0):
        model.generation_config.repetition_penalty = penalty
        model.save_pretrained(tmp_path)
        written.append(make_decoder(tmp_path).generate(TEXTS, TOPICS, SHORT))
    assert written[0] == written[1]


def test_topic_logits_are_one_forward_pass_before_the_topic(decoder):
    logits = decoder.topic_logits(TEXTS, tokens_per_batch=150)
    assert logits.shape == (len(TEXTS), 2)
    assert logits.dtype == torch.float32
    for text, row in zip(TEXTS, logits, strict=True):
        ids = decoder._sequencer.prompts([text])[0]
        alone = decoder.model(input_ids=torch.tensor([ids])).logits[0, -1, list(decoder.control.topic_ids)]
        torch.testing.assert_close(row, alone.detach(), atol=1e-4, rtol=1e-4)


def test_features_are_what_a_topic_is_chosen_from(decoder):
    found = decoder.features(TEXTS)
    model = decoder.model.get_base_model()
    for text, features in zip(TEXTS, found, strict=True):
        prompt = torch.tensor(decoder._sequencer.prompts([text]))
        with torch.no_grad():
            expected = decoder.model(input_ids=prompt, output_hidden_states=True).hidden_states[-1][0, -1]
        torch.testing.assert_close(features, expected, atol=1e-4, rtol=1e-3)
    assert found.shape == (len(TEXTS), model.config.hidden_size)


def test_free_topics_are_the_most_probable_tokens_where_those_are_topics(decoder):
    found = decoder.generate_topics(TEXTS, tokens_per_batch=150)
    names = dict(zip(decoder.control.topic_ids, decoder.topics, strict=True))
    tokens = []
    for text in TEXTS:
        ids = decoder._sequencer.prompts([text])[0]
        tokens.append(int(decoder.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    assert found == [names.get(token) for token in tokens]
    assert decoder.generate_topics([]) == []


def test_a_free_topic_may_be_any_of_them_or_none(shared_base, monkeypatch, make_decoder):
    decoder = make_decoder(shared_base)
    for token, named in (*zip(decoder.control.topic_ids, decoder.topics, strict=True), (7, None)):
        logits = torch.zeros(1, 500)
        logits[:, token] = 1.0
        monkeypatch.setattr("unskew.decoder.engine.Engine.read", lambda *_, logits=logits: [([0], logits)])
        assert decoder.generate_topics(["Cy"]) == [named]


@pytest.mark.parametrize(("line", "named"), [(" OIL\nprices", "oil"), ("oil", "oil"), ("oily\n", None), ("", None)])
def test_a_free_topic_in_text_is_the_rest_of_its_line(shared_base, line, named, monkeypatch, make_decoder):
    decoder = make_decoder(shared_base, condition="text")
    ids = decoder.tokenizer(line, add_special_tokens=False)["input_ids"]

    def write(engine, rows, selector, limit, *_):
        assert all(decoder.tokenizer.decode(row).endswith("Topic:") for row in rows)
        assert selector([0])(torch.tensor([[0.0, 1.0]])).tolist() == [1]
        assert limit >= len(decoder.tokenizer(" wheat\n", add_special_tokens=False)["input_ids"])
        return [ids for _ in rows]

    monkeypatch.setattr("unskew.decoder.engine.Engine.write", write)
    assert decoder.generate_topics(["Cy", "Dee"]) == [named, named]


def test_free_topics_in_text_are_what_greedy_steps_write(shared_base, make_decoder):
    decoder = make_decoder(shared_base, condition="text")
    found = decoder.generate_topics(TEXTS)
    assert found == [decoder.generate_topics([text])[0] for text in TEXTS]
    assert set(found) <= {None, *decoder.topics}


def test_progress_counts_every_text_and_nothing_is_fine(decoder):
    done = []
    decoder.generate(TEXTS, TOPICS, GenerationSettings(2, tokens_per_batch=100), progress=done.append)
    assert sum(done) == len(TEXTS)
    assert len(done) > 1
    assert decoder.generate([], []) == []
    assert decoder.topic_logits([]).shape == (0, 2)


def test_wrong_calls(decoder):
    with pytest.raises(UserError, match="1 texts but 2 topics"):
        decoder.generate(["a"], ["oil", "oil"])
    with pytest.raises(UserError, match="'gas'"):
        decoder.generate(["a"], ["gas"])


def test_of_100_000_words_the_start_alone_is_read(decoder, monkeypatch):
    read, encode = [], TextTokenizer.encode
    monkeypatch.setattr(
        TextTokenizer, "encode", lambda own, texts, most: read.extend(map(len, texts)) or encode(own, texts, most)
    )
    decoder.generate(["word " * 100_000], ["oil"], SHORT)
    assert 0 < sum(read) <= 50_000


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("spare", [0, 40])
def test_saved_and_in_memory_merged_and_not_are_the_same(tied, spare, make_base, tmp_path, make_decoder):
    decoder = make_decoder(make_base(tmp_path / "base", tied=tied, spare=spare))
    outputs, logits = decoder.generate(TEXTS, TOPICS, SHORT), decoder.topic_logits(TEXTS)
    decoder.save_pretrained(tmp_path / "saved")
    for merge in (True, False):
        loaded = TopicDecoder.from_pretrained(tmp_path / "saved", device="cpu", merge=merge)
        assert loaded.generate(TEXTS, TOPICS, SHORT) == outputs
        torch.testing.assert_close(loaded.topic_logits(TEXTS), logits, atol=1e-4, rtol=1e-4)
        loaded.save_pretrained(tmp_path / f"again-{merge}")
        again = TopicDecoder.from_pretrained(tmp_path / f"again-{merge}", device="cpu")
        assert again.generate(TEXTS, TOPICS, SHORT) == outputs
        assert again.topics == decoder.topics


def test_a_loaded_decoder_is_packed_where_it_pays(decoder, tmp_path, monkeypatch):
    if not packable(torch.float32):
        pytest.skip("needs oneDNN")
    monkeypatch.setattr("unskew.runtime.prepacked.SMALLEST", 0)
    decoder.save_pretrained(tmp_path / "saved")
    loaded = TopicDecoder.from_pretrained(tmp_path / "saved", device="cpu")
    assert any(isinstance(module, PrepackedLinear) for module in loaded.model.modules())
    assert loaded.generate(TEXTS, TOPICS, SHORT) == decoder.generate(TEXTS, TOPICS, SHORT)
    loaded.save_pretrained(tmp_path / "again")
    monkeypatch.setattr("unskew.runtime.prepacked.SMALLEST", 1 << 30)
    again = TopicDecoder.from_pretrained(tmp_path / "again", device="cpu")
    assert not any(isinstance(module, PrepackedLinear) for module in again.model.modules())
    torch.testing.assert_close(again.topic_logits(TEXTS), decoder.topic_logits(TEXTS), atol=1e-4, rtol=1e-4)
    kept = TopicDecoder.from_pretrained(tmp_path / "saved", device="cpu", merge=False)
    assert not any(isinstance(module, PrepackedLinear) for module in kept.model.modules())


def test_a_merged_decoder_is_a_plain_transformers_folder(decoder, tmp_path):
    decoder.save_pretrained(tmp_path / "adapter")
    TopicDecoder.from_pretrained(tmp_path / "adapter", device="cpu").save_pretrained(tmp_path / "plain")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "plain", dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "plain")
    assert tokenizer.convert_tokens_to_ids("<|topic:oil|>") == decoder.control.topic_id("oil")
    ids = torch.tensor([[5, 6, decoder.control.topic_id("oil")]])
    torch.testing.assert_close(model(input_ids=ids).logits, decoder.model(input_ids=ids).logits, atol=1e-4, rtol=1e-4)
    weights = {path.suffix for path in (tmp_path / "plain").iterdir() if path.stat().st_size > 50_000}
    assert weights <= {".safetensors", ".json"}


@pytest.mark.parametrize(
    "broken", ["decoder.json", "adapter_config.json", "adapter_model.safetensors", "tokenizer.json"]
)
@pytest.mark.parametrize("how", ["missing", "truncated"])
def test_a_damaged_folder_is_explained(decoder, tmp_path, broken, how):
    decoder.save_pretrained(tmp_path)
    if how == "missing":
        (tmp_path / broken).unlink()
    else:
        (tmp_path / broken).write_bytes((tmp_path / broken).read_bytes()[:40])
    with pytest.raises(UserError, match=tmp_path.name):
        TopicDecoder.from_pretrained(tmp_path, device="cpu")


def test_a_missing_base_is_explained(make_base, tmp_path, make_decoder):
    base = make_base(tmp_path / "base")
    make_decoder(base).save_pretrained(tmp_path / "saved")
    shutil.move(base, tmp_path / "elsewhere")
    with pytest.raises(UserError, match="restore the base, or set base_model_name_or_path"):
        TopicDecoder.from_pretrained(tmp_path / "saved", device="cpu")
    config = tmp_path / "saved" / "adapter_config.json"
    config.write_text(
        json.dumps({**json.loads(config.read_text()), "base_model_name_or_path": str(tmp_path / "elsewhere")})
    )
    assert TopicDecoder.from_pretrained(tmp_path / "saved", device="cpu").topics == ("oil", "wheat")
