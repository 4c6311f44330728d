"""Decides topics with Infinity; `topics_only.py` runs it with an interpreter that has infinity-emb.

    python benchmarks/infinity_peer.py ENCODER BATCH

It answers each line of standard input, a JSON list of texts, with a line of topics. Its engine is torch, in float32.
"""

import json
import sys

from infinity_emb import EngineArgs, SyncEngineArray


def main(encoder: str, batch: str) -> None:
    """Answer until there are no more lines."""
    given = EngineArgs(
        model_name_or_path=encoder, batch_size=int(batch), device="cpu", dtype="float32", served_model_name="encoder"
    )
    engines = SyncEngineArray.from_args([given])
    for line in sys.stdin:
        rows, _ = engines.classify(model="encoder", sentences=json.loads(line)).result()
        print(json.dumps([max(row, key=lambda one: one["score"])["label"] for row in rows]), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
