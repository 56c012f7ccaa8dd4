"""Studies on a Dask cluster find what one process finds, and what is no cluster, or stops being one, is told."""

import http.server
import json
import socket
import subprocess
import sys
import threading
import time

import distributed
import pytest

from rlhf_lab.experiments.__main__ import main
from rlhf_lab.numerics import files

pytestmark = [pytest.mark.peer, pytest.mark.filterwarnings("default")]  # warnings of a package that is not ours
SETTINGS = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": ":0"}


def run(*arguments):
    return main(["ilhf", "fig2", *map(str, arguments)])


def test_a_cluster_of_two_processes_finds_the_same(tmp_path):
    with distributed.LocalCluster(**SETTINGS) as cluster:
        assert run("--seeds", 6, "--out", tmp_path / "dask", "--dask", cluster.scheduler_address) == 0
    assert run("--seeds", 6, "--out", tmp_path / "here") == 0
    here, there = (files.load(tmp_path / place / "ilhf_memory.json") for place in ("here", "dask"))
    assert here == there


@pytest.fixture
def silent():
    """A port that accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def web():
    """A port with something else behind it."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nowhere", "", "silent", "web"])
def test_what_is_no_scheduler_is_told_within_ten_seconds(address, tmp_path, capfd, request):
    if address in ("silent", "web"):
        address = f"tcp://127.0.0.1:{request.getfixturevalue(address)}"
    before = time.monotonic()
    assert run("--seeds", 2, "--out", tmp_path, "--dask", address) == 2
    assert time.monotonic() - before < 10
    assert f"error: no Dask scheduler answers at {address!r} (" in capfd.readouterr().err


CLUSTER = """
import distributed, time
if __name__ == "__main__":
    settings = {"processes": False, "protocol": "tcp", "dashboard_address": ":0"}
    cluster = distributed.LocalCluster(n_workers=1, threads_per_worker=1, **settings)
    print(cluster.scheduler_address, flush=True)
    time.sleep(600)
"""


def test_a_cluster_that_dies_is_told_and_finished_seeds_stay(tmp_path, capfd, monkeypatch):
    script = tmp_path / "cluster.py"
    script.write_text(CLUSTER)
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    address, save = process.stdout.readline().strip(), files.save

    def save_and_kill(*given, **settings):
        save(*given, **settings)
        process.kill()

    monkeypatch.setattr(files, "save", save_and_kill)
    try:
        assert run("--seeds", 40, "--out", tmp_path, "--dask", address) == 2
    finally:
        process.kill()
        process.communicate()
    assert f"error: the Dask cluster at {address} failed (" in capfd.readouterr().err
    kept = list((tmp_path / "ilhf_memory.parts").iterdir())
    assert kept
    assert json.loads(kept[0].read_text())["results"]["study"] == "ilhf memory"
