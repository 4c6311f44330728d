"""A job on a Ray cluster whose machines share nothing but an object store: one of them is lost, then the head."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from object_store import KEY, SECRET, client, objects, s3_server

from unskew.common import write_jsonl
from unskew.jobs import JobSettings, run
from unskew.jobs.ray_cluster import cores_of_worker

cluster_utils = pytest.importorskip("ray.cluster_utils")
SCRIPT = str(Path(__file__).parent / "fake_job.py")
SLOW = {"agent_register_timeout_ms": 120_000}  # of a machine with other work
PORTS = ("metrics_agent_port", "metrics_export_port", "runtime_env_agent_port", "dashboard_agent_listen_port")


def free_ports():
    """For a node's agents; a node that leaves the choice to them waits for them at its start, and not for long."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in PORTS]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return {name: each.getsockname()[1] for name, each in zip(PORTS, sockets, strict=True)}


@contextmanager
def machines(place, endpoint, head_cores, count):
    """A cluster of local nodes, each with its own home, scratch folder and credentials, and the nodes by home."""
    made, nodes = None, {}
    homes = [place / f"home-{number}" for number in range(count + 1)]
    try:
        for number, home in enumerate(homes):
            (home / ".aws").mkdir(parents=True)
            (home / ".aws" / "credentials").write_text(
                f"[default]\naws_access_key_id = own-{number}\naws_secret_access_key = own-{number}\n"
            )
            (home / ".aws" / "config").write_text(f"[default]\nregion = us-east-1\nendpoint_url = {endpoint}\n")
            own = {"HOME": str(home), "TMPDIR": str(home)}
            node = {"env_vars": own, "num_cpus": 1 if number else head_cores, **free_ports()}
            if made is None:
                node |= {"include_dashboard": False, "_system_config": SLOW}
                made = cluster_utils.Cluster(initialize_head=True, head_node_args=node)
                nodes[home] = made.head_node
            else:
                nodes[home] = made.add_node(**node)
        yield made, nodes
    except Exception as error:
        if "timed out during startup" in str(error):  # Ray waits 30 seconds, whatever is set
            pytest.skip("this machine is too busy to start Ray's nodes in time")
        raise
    finally:
        if made is not None:
            made.shutdown()


def copies(home):
    return [path for path in (home / ".cache" / "unskew" / "bundles").glob("*") if path.is_dir()]


def until(process, condition):
    end = time.monotonic() + 240
    while not condition():
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_machine_is_lost_and_then_the_head(fake, tmp_path):
    write_jsonl(tmp_path / "in.jsonl", [{"text": f"row {i} " + "POISON" * (i == 33)} for i in range(126)])
    run(fake.fake_system(), JobSettings(str(tmp_path / "in.jsonl"), str(tmp_path / "one") + "/", shard_rows=7))
    one = {path.relative_to(tmp_path / "one").as_posix(): path for path in (tmp_path / "one").glob("part-*")}
    expected = {name: path.read_bytes() for name, path in one.items()}
    with s3_server() as environment:
        s3 = client(environment)
        s3.create_bucket(Bucket="job")
        s3.upload_file(str(tmp_path / "in.jsonl"), "job", "in.jsonl")
        for name in ("unskew.json", "encoder/model.safetensors"):
            s3.put_object(Bucket="job", Key=f"bundle/{name}", Body=b"{}")

        def start(address, output):
            options = {"executor": "ray", "workers": 2, "shard_rows": 7, "progress": "none", "pause": 0.05}
            given = json.dumps({**options, "copied": "s3://job/bundle"})
            command = [sys.executable, SCRIPT, "s3://job/in.jsonl", f"s3://job/{output}/", given]
            own = {**os.environ, **environment, "RAY_ADDRESS": address}
            return subprocess.Popen(command, env=own, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

        def found(output):
            return {name: body for name, body in objects(s3, "job", f"{output}/").items() if name.startswith("part-")}

        endpoint = environment["AWS_ENDPOINT_URL"]
        with machines(tmp_path / "before", endpoint, 0, 2) as (cluster, nodes):
            with start(cluster.address, "lost") as job:
                until(job, lambda: len(found("lost")) > 1)
                cluster.remove_node(next(node for home, node in nodes.items() if copies(home)), allow_graceful=False)
                said, _ = job.communicate()
            assert job.returncode == 0, said
            assert "is done again by another" in said
            assert found("lost") == expected
            assert [len(copies(home)) for home in nodes] == [0, 1, 1]  # no worker ran on the head
            with start(cluster.address, "head") as job:
                until(job, lambda: len(found("head")) > 1)
                job.send_signal(signal.SIGKILL)
            logs = Path(cluster.head_node.get_session_dir_path()).rglob("*.*")
            assert not any(
                secret.encode() in log.read_bytes() for log in logs if log.is_file() for secret in (KEY, SECRET)
            )
        assert len(found("head")) < len(expected)
        with (
            machines(tmp_path / "after", endpoint, 1, 0) as (cluster, nodes),
            start(cluster.address, "head") as job,
        ):
            said, _ = job.communicate()
        assert job.returncode == 0, said
        assert "rows had been done before" in said
        assert found("head") == expected
        assert all(map(copies, nodes))


@pytest.mark.parametrize(
    ("machines", "options", "cores"),
    [
        ([(8, 0)], {"workers": 2}, 4),
        ([(0, 0), (16, 0), (16, 0)], {"workers": 2}, 16),
        ([(2, 0), (64, 0), (64, 0)], {"workers": 4}, 32),
        ([(64, 0), (8, 1)], {"workers": 1, "gpus_per_worker": 1}, 8),
        ([(64, 0), (8, 1)], {"workers": 2, "gpus_per_worker": 0.5}, 4),
        ([(2, 0)], {"workers": 4}, 1),
        ([(0, 0)], {"workers": 1}, 1),
    ],
)
def test_a_worker_has_the_cores_with_which_all_find_room(machines, options, cores):
    nodes = [{"Alive": True, "Resources": {"CPU": float(cpu), "GPU": float(gpu)}} for cpu, gpu in machines]
    lost = {"Alive": False, "Resources": {"CPU": 999.0, "GPU": 99.0}}
    assert cores_of_worker([*nodes, lost], JobSettings("in.jsonl", "out/", executor="ray", **options)) == cores
