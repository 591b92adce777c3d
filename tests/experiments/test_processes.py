"""How cores and devices are shared among the runs of an experiment."""

import os
import subprocess
import sys

import pytest

from resnet_lightning.experiments.processes import device_share, last_error, thread_share


@pytest.mark.parametrize(
    ("given", "jobs", "share"), [("", 1, "all"), ("", 10_000, "1"), ("1", 1, "1"), ("x", 10_000, "1")]
)
def test_each_process_gets_its_share_of_the_cores(monkeypatch, given, jobs, share):
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert thread_share(jobs) == {"OMP_NUM_THREADS": str(cores) if share == "all" else share}


@pytest.mark.slow
def test_torch_takes_the_share():
    code = "import torch; print(torch.get_num_threads())"
    environment = {**os.environ, **thread_share(10_000)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"


@pytest.mark.parametrize(
    ("visible", "count", "shares"),
    [
        ("0,1", 1, ["0", "1", "0"]),
        ("2,5,7", 1, ["2", "5", "7", "2"]),
        ("0,1,2,3", 2, ["0,1", "2,3", "0,1"]),
        ("MIG-a,MIG-b", 1, ["MIG-a", "MIG-b"]),
        ("3", 1, [None, None]),
        ("0,1", 4, [None]),
        ("0,1", None, [None, None]),
    ],
)
def test_each_process_gets_its_devices_in_turn(monkeypatch, visible, count, shares):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = [device_share(slot, count).get("CUDA_VISIBLE_DEVICES") for slot in range(len(shares))]
    assert found == shares


def test_the_reason_of_a_failure_is_the_last_error_that_was_printed(tmp_path):
    log = tmp_path / "output.log"
    assert last_error(log) == ""
    log.write_text("start\nerror: the first\nerror: the second\nend\n\n")
    assert last_error(log) == "the second"
    log.write_text("Traceback\nValueError: x\n")
    assert last_error(log) == "ValueError: x"
