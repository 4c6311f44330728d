"""Compares `unskew serve` under load with a plain FastAPI app around transformers' pipelines and the pipeline alone.

python benchmarks/serving.py --model BUNDLE --data FILE [--stage encoder] [--requests '[32,128,256]'] [--repeats 5]

wrk (apt-get install wrk; its requests come from `serving.lua`) keeps some clients busy, with one text per request,
until a number of requests is answered. Each repeat measures both servers and the loop in turn, so that other load
affects all of them; figures are medians of the repeats. All process the same tokens: the plain app tokenises prompt and
text as one string, so the prompt's last space, which would join the text's first token, is removed. Rows whose tokens
still differ, or whose topic is not the plain classifier's, are left out.
"""

import http.client
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import torch
from jsonargparse import ArgumentParser

from unskew.common import write_text
from unskew.corpus import load_usable
from unskew.decoder import GenerationSettings, TopicDecoder
from unskew.decoder.prompts import Prompt
from unskew.pipeline import HybridPipeline

HERE = Path(__file__).parent
READY_SECONDS = 300


@dataclass
class Server:
    """A server and its measurements.

    Attributes:
        name: Title of its line in the table.
        port: Port of the server.
        bodies: Request bodies, one for each row.
        found: By number of clients, a dictionary for each repeat: seconds, p50 and p99 in milliseconds, and requests
            per second of the server's processor time, which hardly depends on other load.
        process: Process of the running server.
    """

    name: str
    port: int
    bodies: list[str]
    found: dict[int, list[dict[str, float]]] = field(default_factory=dict)
    process: psutil.Process | None = None

    def ask(self, body: str) -> dict[str, Any]:
        """One answer, in the same form for both servers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=READY_SECONDS)
        connection.request("POST", "/predict", body.encode(), {"Content-Type": "application/json"})
        answer = json.loads(connection.getresponse().read())
        [result] = answer.get("results", [answer])
        return result

    def load(self, clients: int, requests: int, folder: Path) -> None:
        """Measure once."""
        bodies = folder / "bodies"
        write_text(bodies, "\n".join(self.bodies) + "\n")
        command = ["wrk", "-t1", f"-c{clients}", "-d3600", "--timeout", "600", "-s", str(HERE / "serving.lua")]
        told = {**os.environ, "BODIES": str(bodies), "REQUESTS": str(requests)}
        before = self._processor_seconds()
        done = subprocess.run(
            [*command, f"http://127.0.0.1:{self.port}/predict"], env=told, capture_output=True, text=True, check=True
        )
        found = json.loads(done.stdout.strip().splitlines()[-1])
        if found["failed"]:
            raise SystemExit(f"{self.name}: {found['failed']:.0f} requests failed")
        figures = {"rate": requests / found["seconds"], "cpu_rate": requests / (self._processor_seconds() - before)}
        self.found.setdefault(clients, []).append({**found, **figures})

    def _processor_seconds(self) -> float:
        assert self.process is not None
        times = self.process.cpu_times()
        return times.user + times.system

    def figure(self, clients: int, name: str) -> float:
        """The median over the repeats."""
        return median(repeat[name] for repeat in self.found[clients])

    @property
    def saturation(self) -> float:
        """The highest rate at any number of clients."""
        return max(self.figure(clients, "rate") for clients in self.found)


def alike(pipe: HybridPipeline, texts: Sequence[str], count: int) -> list[str]:
    """The first rows with the same topic and prompt tokens in the plain app and in unskew."""
    logits = pipe.encoder.logits(texts)
    chosen = pipe.corrector(logits).argmax(-1).tolist()
    same = [text for text, a, b in zip(texts, chosen, logits.argmax(-1).tolist(), strict=True) if a == b]
    if pipe.decoder is not None:
        words, prompt = pipe.decoder.tokenizer, pipe.decoder.prompt
        together = [
            words(f"{prompt.before}{text}{prompt.after}", add_special_tokens=False)["input_ids"] for text in same
        ]
        pairs = zip(same, together, pipe.decoder._sequencer.prompts(same), strict=True)
        same = [text for text, ids, own in pairs if ids == own]
    return same[:count]


def without_space(pipe: HybridPipeline) -> HybridPipeline:
    """The system with no space before the text of its prompt."""
    decoder = pipe.decoder
    if decoder is None:
        return pipe
    prompt = Prompt(decoder.prompt.before.rstrip(" "), decoder.prompt.after)
    made = TopicDecoder(decoder.model, decoder.tokenizer, decoder.control, prompt, decoder.max_tokens)
    return HybridPipeline(pipe.encoder, made, pipe.corrector, pipe.description)


def prepare(pipe: HybridPipeline, new_tokens: int, folder: Path) -> None:
    """Write the folder that both servers load: a bundle with a merged decoder, and the plain app's settings."""
    pipe.save_pretrained(folder / "bundle")
    decoder, plain = pipe.decoder, {"new_tokens": 0}
    if decoder is not None:
        marks = {name: decoder.tokenizer.decode(decoder._sequencer.topic_tokens(name)) for name in pipe.topics.names}
        prompt = decoder.prompt
        plain = {"new_tokens": new_tokens, "before": prompt.before, "after": prompt.after, "marks": marks}
    write_text(folder / "bundle" / "plain.json", json.dumps(plain))


@contextmanager
def started(server: Server, command: Sequence[str], threads: int) -> Generator[None]:
    """Run a server until the block ends."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    with subprocess.Popen([sys.executable, *command], env=environment) as process:
        try:
            for _ in range(READY_SECONDS * 10):
                if process.poll() is not None:
                    raise SystemExit(f"{command} ended")
                with socket.socket() as one:
                    if one.connect_ex(("127.0.0.1", server.port)) == 0:
                        break
                time.sleep(0.1)
            server.process = psutil.Process(process.pid)
            yield
        finally:
            process.terminate()


def free_port() -> int:
    """A free port."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Loop:
    """The pipeline in this process.

    Args:
        pipe: As the server loads it.
        texts: The rows.
        generation: As asked of the server.
    """

    def __init__(self, pipe: HybridPipeline, texts: list[str], generation: GenerationSettings) -> None:
        self._pipe, self._texts, self._generation = pipe, texts, generation
        self.singles: list[float] = []
        self.rates: dict[str, list[float]] = {"batches of 64": [], "all rows at once": []}

    def single(self, requests: int) -> None:
        """Rows one by one; milliseconds of the median."""
        seconds = []
        for i in range(requests):
            start = time.perf_counter()
            list(self._pipe(self._texts[i % len(self._texts) :][:1], generation=self._generation))
            seconds.append(time.perf_counter() - start)
        self.singles.append(1000 * median(seconds))

    def batches(self, requests: int) -> None:
        """Rows together; rows a second."""
        texts = (self._texts * -(-requests // len(self._texts)))[:requests]
        for name, window in zip(self.rates, (64, requests), strict=True):
            start = time.perf_counter()
            list(self._pipe(texts, generation=self._generation, window=window))
            self.rates[name].append(requests / (time.perf_counter() - start))

    def rate(self, name: str) -> float:
        """The median over the repeats."""
        return median(self.rates[name])


def table(servers: Sequence[Server], loop: Loop) -> str:
    """The figures as Markdown."""
    clients = list(servers[0].found)
    head = [
        "",
        *(f"{count} client{'s' * (count > 1)}: p50, p99 ms; requests/s" for count in clients),
        "saturation, rows/s (a second of the server's processor time)",
    ]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for server in servers:
        cells = [
            f"{server.figure(count, 'p50'):.1f}, {server.figure(count, 'p99'):.1f}; {server.figure(count, 'rate'):.2f}"
            for count in clients
        ]
        of_processor = max(server.figure(count, "cpu_rate") for count in clients)
        lines.append(f"| {server.name} | {' | '.join(cells)} | {server.saturation:.2f} ({of_processor:.2f}) |")
    alone = [f"{median(loop.singles):.1f}; {1000 / median(loop.singles):.2f}", *[""] * (len(clients) - 1)]
    batch = max(map(loop.rate, loop.rates))
    lines.append(f"| `HybridPipeline` in a loop | {' | '.join(alone)} | {batch:.2f} |")
    rates = ", ".join(f"{name} {loop.rate(name):.2f}" for name in loop.rates)
    own, plain = servers
    ratio = median(a["rate"] / b["rate"] for a, b in zip(*(best(server) for server in servers), strict=True))
    share = median(a["rate"] / max(b) for a, b in zip(best(own), zip(*loop.rates.values(), strict=True), strict=True))
    over = median(a["p50"] - b for a, b in zip(own.found[1], loop.singles, strict=True))
    lines += [
        "",
        f"pipeline, rows/s: {rates}",
        f"saturation, of the plain app's: {ratio:.2f} times; of the pipeline's batch rate: {share:.0%}",
        f"over the pipeline's call at one client: {over:.2f} ms",
    ]
    return "\n".join(lines)


def best(server: Server) -> list[dict[str, float]]:
    """The repeats at the number of clients that is fastest."""
    return max(server.found.values(), key=lambda found: median(repeat["rate"] for repeat in found))


def same_answers(servers: Sequence[Server], loop: Loop, texts: Sequence[str]) -> str:
    """Numbers of topics and outputs of each server that equal the pipeline's."""
    expected = list(loop._pipe(texts, generation=loop._generation))
    said = []
    for server in servers:
        found = [server.ask(body) for body in server.bodies]
        topics = sum(a["topic"] == b.topic for a, b in zip(found, expected, strict=True))
        outputs = sum(a["output"] == (b.output and b.output.strip()) for a, b in zip(found, expected, strict=True))
        said.append(f"{server.name}: {topics} topics and {outputs} outputs of {len(texts)} are the pipeline's")
    return "; ".join(said)


def turn(servers: Sequence[Server], loop: Loop, loads: dict[int, int], folder: Path) -> None:
    """Measure everything once; `loads` are requests by the number of clients."""
    for clients, requests in loads.items():
        for server in servers:
            server.load(clients, requests, folder)
        if clients == 1:
            loop.single(requests)
        if clients == max(loads):
            loop.batches(requests)
    print({server.name: {n: found[-1] for n, found in server.found.items()} for server in servers}, file=sys.stderr)


def main() -> None:
    """Start both servers, measure in turns, print the table."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=str, required=True, help="a bundle")
    parser.add_argument("--data", type=str, required=True, help="rows with a text")
    parser.add_argument("--stage", type=str, default="both", help="both, or encoder")
    parser.add_argument("--rows", type=int, default=64, help="different texts")
    parser.add_argument("--new_tokens", type=int, default=16, help="longest output")
    parser.add_argument("--clients", type=list[int], default=[1, 8, 64], help="how many ask at a time")
    parser.add_argument("--requests", type=list[int], default=[32, 128, 256], help="answered, for each of --clients")
    parser.add_argument("--repeats", type=int, default=5, help="turns of all arms")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of each arm")
    given = parser.parse_args()
    if shutil.which("wrk") is None:
        parser.error("wrk is not installed (apt-get install wrk)")
    torch.set_num_threads(given.threads)
    source = without_space(HybridPipeline.from_pretrained(given.model, "cpu", with_decoder=given.stage == "both"))
    texts = alike(source, [record.text for record in load_usable(given.data)[0]], given.rows)
    if not texts:
        raise SystemExit("no row has the same tokens in all arms")
    new_tokens = given.new_tokens if given.stage == "both" else 0
    generation = GenerationSettings(max_new_tokens=given.new_tokens)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        prepare(source, new_tokens, folder)
        bundle = str(folder / "bundle")
        loop = Loop(HybridPipeline.from_pretrained(bundle, "cpu", with_decoder=bool(new_tokens)), texts, generation)
        asked = {"generation": {"max_new_tokens": given.new_tokens}} if new_tokens else {}
        own = Server("`unskew serve`", free_port(), [json.dumps({"text": text, **asked}) for text in texts])
        plain = Server("FastAPI, two pipelines", free_port(), [json.dumps({"text": text}) for text in texts])
        program = str(Path(sys.executable).with_name("unskew"))
        serve = [program, "serve", "--model", bundle, "--stage", given.stage, "--port", str(own.port)]
        with (
            started(own, [*serve, "--device", "cpu", "--limits.seconds", "3600"], given.threads),
            started(plain, [str(HERE / "serving_plain.py"), bundle, str(plain.port)], given.threads),
        ):
            print(same_answers((own, plain), loop, texts), flush=True)
            for _ in range(given.repeats):
                turn((own, plain), loop, dict(zip(given.clients, given.requests, strict=True)), folder)
    print(f"{len(texts)} rows, {new_tokens} new tokens, {given.threads} threads, {given.repeats} repeats;")
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}\n")
    print(table((own, plain), loop))


if __name__ == "__main__":
    main()
