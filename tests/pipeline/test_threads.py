"""One pipeline, many threads: the results of each are those it would get alone."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from unskew import HybridPipeline
from unskew.decoder import GenerationSettings

SHORT = GenerationSettings(max_new_tokens=2)


@pytest.fixture
def hasty():
    interval, threads = sys.getswitchinterval(), torch.get_num_threads()
    sys.setswitchinterval(1e-6)
    torch.set_num_threads(1)
    yield
    sys.setswitchinterval(interval)
    torch.set_num_threads(threads)


def test_threads_share_a_pipeline(fitted, hasty):
    pipe = HybridPipeline.from_pretrained(fitted[1], device="cpu")
    end = pipe.decoder.tokenizer.eos_token
    texts = [f"field {end} <|topic:harvest|> {'tractor ship goal ' * length}" for length in (1, 100, 400)]

    def ask(turn):
        if turn % 4:
            return pipe.decoder.topic_logits(texts), pipe.encoder.logits(texts), pipe.encoder.features(texts)
        return [result.to_dict() for result in pipe(texts, generation=SHORT)]

    wanted = [ask(turn) for turn in range(2)]
    with ThreadPoolExecutor(8) as pool:
        for turn, got in enumerate(pool.map(ask, range(80))):
            if turn % 4:
                torch.testing.assert_close(got, wanted[1])
            else:
                assert got == wanted[0]
