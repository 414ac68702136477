"""One LocalStack for the whole session, one VPC and subnet for each test.

Nothing here knows Veni: the rules are proved with boto3 alone. Time is the
hook's clock, which stands still until a test advances it; nothing sleeps.
"""

import json
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

EC2 = pathlib.Path(__file__).resolve().parent.parent
READY_SECONDS = 120
REGION = "us-east-1"
ZONE = "us-east-1a"


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--without-hook`` runs the tests against stock LocalStack."""
    parser.addoption("--without-hook", action="store_true", help="test stock LocalStack, to see the tests fail")


class Server:
    """A running LocalStack and its control endpoints."""

    def __init__(self, url: str, hooked: bool) -> None:
        self.url = url
        self.hooked = hooked

    def client(self, access_key: str = "test", timeout: float = 120.0, service: str = "ec2") -> Any:
        """A boto3 client that repeats nothing."""
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=access_key,
            aws_secret_access_key="test",
            config=Config(retries={"total_max_attempts": 1}, read_timeout=timeout, parameter_validation=False),
        )

    def control(self, method: str, path: str, body: Any = None) -> Any:
        """Calls ``/_veni/<path>`` and answers its JSON, also of a refusal."""
        request = urllib.request.Request(f"{self.url}/_veni/{path}", method=method)
        data = None if body is None else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(request, data, timeout=120) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            return json.loads(error.read() or b"{}")

    def knobs(self, **values: Any) -> None:
        """Sets knobs until the end of the test."""
        answer = self.control("POST", "knobs", values)
        assert "problem" not in answer, answer

    def advance(self, seconds: float) -> None:
        """Moves the hook's clock."""
        self.control("POST", "clock", {"advance_seconds": seconds})

    def fault(self, **rule: Any) -> dict[str, Any]:
        """Adds a fault until the end of the test."""
        answer = self.control("POST", "faults", rule)
        assert "problem" not in answer, answer
        return answer

    def fill(self, subnet: str, **how: Any) -> dict[str, Any]:
        """Occupies addresses of a subnet."""
        answer = self.control("POST", "fill", {"subnet": subnet, **how})
        assert "problem" not in answer, answer
        return answer


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


#: The same addresses in every run: a test that names one must not meet a random one.
SEEDED = {"VENI_EC2_SEED": "1"}


@contextmanager
def running_server(hooked: bool = True, **environment: str) -> Iterator[Server]:
    """Starts a LocalStack on a free port and ends it by its own process."""
    port, data = free_port(), tempfile.mkdtemp(prefix="veni-localstack-test-")
    command = [str(EC2 / "run"), "--listen", f"127.0.0.1:{port}", "--data", data, "--exit-with-parent"]
    log = open(os.path.join(data, "server.log"), "wb")
    process = subprocess.Popen(
        command + ([] if hooked else ["--without-hook"]),
        stdout=log,
        stderr=log,
        env={**os.environ, **SEEDED, **environment},
    )
    server = Server(f"http://127.0.0.1:{port}", hooked)
    try:
        wait_until_ready(server, process, log.name)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()
        shutil.rmtree(data, ignore_errors=True)


def wait_until_ready(server: Server, process: subprocess.Popen[bytes], log: str) -> None:
    """Waits for the health endpoint; a server that ended says why."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{server.url}/_localstack/health", timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    pytest.exit(f"LocalStack did not become ready:\n{pathlib.Path(log).read_text()[-4000:]}", 3)


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """The session's LocalStack."""
    hooked = not request.config.getoption("--without-hook")
    with running_server(hooked) as started:
        yield started


@pytest.fixture(autouse=True)
def clean(server: Server) -> Iterator[None]:
    """No fault, count or knob outlives its test, and time stands still within it."""
    if server.hooked:
        server.control("POST", "reset")
        server.control("POST", "clock", {"frozen": True})
    yield
    if server.hooked:
        server.control("POST", "reset")


@pytest.fixture
def ec2(server: Server) -> Any:
    """A boto3 client."""
    return server.client()


@pytest.fixture
def vpc(ec2: Any) -> dict[str, Any]:
    """A VPC of the test's own, with IPv6."""
    return ec2.create_vpc(CidrBlock="10.0.0.0/16", AmazonProvidedIpv6CidrBlock=True)["Vpc"]


@pytest.fixture
def make_subnet(ec2: Any, vpc: dict[str, Any]) -> Callable[..., str]:
    """Makes subnets: ``make_subnet("10.0.1.0/24", zone=…, ipv6=True)``."""
    block = vpc["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"].replace("/56", "/64")

    def make(cidr: str, zone: str = ZONE, ipv6: bool = False) -> str:
        more = {"Ipv6CidrBlock": block} if ipv6 else {}
        answer = ec2.create_subnet(VpcId=vpc["VpcId"], CidrBlock=cidr, AvailabilityZone=zone, **more)
        return answer["Subnet"]["SubnetId"]

    return make


@pytest.fixture
def subnet(make_subnet: Callable[..., str]) -> str:
    """A /24 of the test's own, with IPv6."""
    return make_subnet("10.0.1.0/24", ipv6=True)


@pytest.fixture
def make_instance(ec2: Any) -> Callable[..., dict[str, Any]]:
    """Runs an instance of a type in a subnet."""

    def make(subnet: str, instance_type: str = "m5.large") -> dict[str, Any]:
        answer = ec2.run_instances(
            ImageId="ami-12345678", InstanceType=instance_type, MinCount=1, MaxCount=1, SubnetId=subnet
        )
        return answer["Instances"][0]

    return make


@pytest.fixture
def instance(make_instance: Callable[..., dict[str, Any]], subnet: str) -> str:
    """An m5.large (3 interfaces, 10 addresses each) in the test's subnet."""
    return make_instance(subnet)["InstanceId"]


@pytest.fixture
def make_interface(ec2: Any, subnet: str) -> Callable[..., str]:
    """Creates an interface in the test's subnet and answers its id."""

    def make(**parameters: Any) -> str:
        parameters.setdefault("SubnetId", subnet)
        return ec2.create_network_interface(**parameters)["NetworkInterface"]["NetworkInterfaceId"]

    return make


@pytest.fixture
def interface(make_interface: Callable[..., str]) -> str:
    """An interface with nothing but its primary address."""
    return make_interface()


@contextmanager
def refused(code: str, text: str = "") -> Iterator[None]:
    """Expects EC2 to refuse with this code, and this in the message."""
    with pytest.raises(ClientError) as caught:
        yield
    error = caught.value.response["Error"]
    assert error["Code"] == code, error
    assert text in error["Message"], error


def shown(ec2: Any, interface: str) -> dict[str, Any]:
    """The interface as DescribeNetworkInterfaces shows it."""
    return ec2.describe_network_interfaces(NetworkInterfaceIds=[interface])["NetworkInterfaces"][0]


def addresses(record: dict[str, Any]) -> list[str]:
    """All private IPv4 addresses of a shown interface, the primary one first."""
    return [a["PrivateIpAddress"] for a in record["PrivateIpAddresses"]]


def free_count(ec2: Any, subnet: str) -> int:
    """AvailableIpAddressCount."""
    return ec2.describe_subnets(SubnetIds=[subnet])["Subnets"][0]["AvailableIpAddressCount"]
