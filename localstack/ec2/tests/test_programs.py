"""The programs themselves: where the server listens, how it ends, what it does with a bad setting."""

import os
import re
import select
import signal
import subprocess

import pytest
from botocore.exceptions import ReadTimeoutError
from conftest import EC2, Server, free_port, running_server


def start(*arguments, **environment):
    command = [str(EC2 / "run"), *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, **environment}, text=True
    )


def listening(port):
    """Local addresses that listen on the port."""
    found = subprocess.run(["ss", "-Hltn", f"sport = :{port}"], capture_output=True, text=True, check=True)
    return [line.split()[3].rsplit(":", 1)[0] for line in found.stdout.splitlines()]


def test_the_server_listens_on_the_asked_address_only(server):
    assert listening(int(server.url.rsplit(":", 1)[1])) == ["127.0.0.1"]


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_cleanly(tmp_path, ending):
    process = start("--listen", f"127.0.0.1:{free_port()}", "--data", str(tmp_path))
    for line in process.stdout:
        if line.startswith("Ready."):
            break
    process.send_signal(ending)
    process.communicate(timeout=120)
    assert process.returncode in (0, 128 + ending, -ending)


def test_a_port_in_use_is_refused_before_anything_is_touched(server, tmp_path):
    address = server.url.removeprefix("http://")
    process = start("--listen", address, "--data", str(tmp_path / "data"))
    told, _ = process.communicate(timeout=120)
    assert process.returncode == 1 and f"{address} is in use" in told
    assert not (tmp_path / "data").exists()


def test_a_slow_call_does_not_keep_a_server_that_is_told_to_end(tmp_path):
    port = free_port()
    rule = '[{"operations": ["DescribeVpcs"], "latency_seconds": 3600}]'
    process = start("--listen", f"127.0.0.1:{port}", "--data", str(tmp_path), VENI_EC2_FAULTS=rule)
    for line in process.stdout:
        if line.startswith("Ready."):
            break
    with pytest.raises(ReadTimeoutError):
        Server(f"http://127.0.0.1:{port}", True).client(timeout=2).describe_vpcs()
    process.terminate()
    process.communicate(timeout=120)


def test_the_server_ends_when_its_parent_is_killed(tmp_path):
    command = f"{EC2 / 'run'} --exit-with-parent --listen 127.0.0.1:{free_port()} --data {tmp_path} & echo $!; wait"
    parent = subprocess.Popen(["bash", "-c", command], stdout=subprocess.PIPE, text=True)
    server = os.pidfd_open(int(parent.stdout.readline()))
    for line in parent.stdout:
        if line.startswith("Ready."):
            break
    assert not select.select([server], [], [], 0)[0], "the server ended by itself"
    parent.kill()
    parent.wait()
    assert select.select([server], [], [], 120)[0], "the server outlived its parent"


def test_a_hook_that_cannot_be_installed_ends_the_server(tmp_path, request):
    without = ["--without-hook"] if request.config.getoption("--without-hook") else []
    process = start(
        "--listen", f"127.0.0.1:{free_port()}", "--data", str(tmp_path), *without, VENI_EC2_ATTACH_SECONDS="soon"
    )
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("Ready."):
            process.terminate()
    process.wait(120)
    assert "attach_seconds=soon" in "".join(lines)
    assert process.returncode == 3


def test_the_callers_own_aws_settings_do_not_reach_the_server():
    with running_server(AWS_ENDPOINT_URL="http://192.0.2.1:1", AWS_PROFILE="nobody") as server:
        assert server.client().describe_vpcs()["Vpcs"]


@pytest.mark.parametrize("program", ["run", "install"])
def test_programs_explain_themselves(program):
    answer = subprocess.run([str(EC2 / program), "--help"], capture_output=True, text=True, check=True)
    assert answer.stdout.startswith("usage:")
    assert subprocess.run([str(EC2 / program), "--nonsense"], capture_output=True).returncode == 2


def test_installing_again_changes_nothing_and_prints_the_same_folder():
    answers = {
        subprocess.run([str(EC2 / "install")], capture_output=True, text=True, check=True).stdout for _ in range(2)
    }
    assert len(answers) == 1
    assert re.search(r"/localstack-[0-9a-f]{12}\n$", answers.pop())


def test_the_table_of_instance_types_is_what_the_generator_writes():
    answer = subprocess.run([str(EC2 / "generate-instance-types"), "--check"], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr


def test_the_generator_notices_an_old_table(tmp_path):
    old = tmp_path / "types.txt"
    old.write_text("# Date: 2000-01-01\nm5.large 3 9 10 2 nitro 0 1 3\n")
    command = [str(EC2 / "generate-instance-types"), "--check", "--output", str(old)]
    assert subprocess.run(command, capture_output=True).returncode == 1
