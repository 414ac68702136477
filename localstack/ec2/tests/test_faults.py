"""Faults on demand, and the counts that show how a client reacted to them."""

import json
import time

import pytest
from botocore.exceptions import BotoCoreError, ClientError, ReadTimeoutError
from conftest import addresses, free_count, refused, running_server, shown


def assign(ec2, interface, count=1):
    return ec2.assign_private_ip_addresses(NetworkInterfaceId=interface, SecondaryPrivateIpAddressCount=count)


def outcomes(calls, count):
    """ok or the error code of so many calls."""
    found = []
    for _ in range(count):
        try:
            calls()
            found.append("ok")
        except ClientError as error:
            found.append(error.response["Error"]["Code"])
    return found


def test_an_error_strikes_the_named_operation_by_sequence(ec2, server, interface):
    server.fault(
        operations=["AssignPrivateIpAddresses"], sequence=[2, 3], error={"code": "InternalError", "status": 500}
    )
    found = outcomes(lambda: assign(ec2, interface), 4)
    assert found == ["ok", "InternalError", "InternalError", "ok"]
    assert len(addresses(shown(ec2, interface))) == 3


def test_an_error_strikes_after_some_calls_and_for_some(ec2, server, interface):
    server.fault(operations=["AssignPrivateIpAddresses"], after=1, count=2, error={"code": "Unavailable"})
    assert outcomes(lambda: assign(ec2, interface), 4) == ["ok", "Unavailable", "Unavailable", "ok"]


def test_an_error_may_be_told_of_a_call_that_was_done(ec2, server, subnet, interface):
    error = {"code": "Unavailable", "status": 503, "done": True}
    server.fault(operations=["AssignPrivateIpAddresses", "CreateTags"], error=error)
    with refused("Unavailable", "injected"):
        assign(ec2, interface)
    assert len(addresses(shown(ec2, interface))) == 2
    # One that the hook leaves to LocalStack.
    with refused("Unavailable", "injected"):
        ec2.create_tags(Resources=[interface], Tags=[{"Key": "a", "Value": "1"}])
    assert {"Key": "a", "Value": "1"} in shown(ec2, interface)["TagSet"]
    counts = server.control("GET", "calls")["operations"]["AssignPrivateIpAddresses"]
    assert counts["outcomes"] == {"Unavailable": 1}


def test_a_call_that_fails_by_itself_tells_its_own_error(ec2, server, subnet):
    server.fault(error={"code": "Unavailable", "status": 503, "done": True})
    with refused("InvalidNetworkInterfaceID.NotFound"):
        assign(ec2, "eni-0123456789abcdef0")


def test_an_error_strikes_one_interface_only(ec2, server, interface, make_interface):
    server.fault(match={"NetworkInterfaceId": interface}, error={"code": "InternalError", "status": 500})
    with refused("InternalError"):
        assign(ec2, interface)
    assign(ec2, make_interface())


def test_an_error_strikes_one_access_key_only(ec2, server, interface):
    server.fault(access_key="other", error={"code": "InternalError", "status": 500})
    with refused("InternalError"):
        assign(server.client("other"), interface)


def test_an_error_strikes_each_of_several_access_keys(server, interface):
    server.fault(access_key=["node-a", "node-b"], error={"code": "InternalError", "status": 500})
    for key in ("node-a", "node-b"):
        with refused("InternalError"):
            assign(server.client(key), interface)
    assign(server.client("node-c"), interface)


def test_families_are_told_apart(ec2, server, subnet):
    server.fault(operations=["mutating"], error={"code": "Unavailable"})
    with refused("Unavailable"):
        ec2.create_network_interface(SubnetId=subnet)
    ec2.describe_subnets(SubnetIds=[subnet])
    server.fault(operations=["unfiltered"], error={"code": "Unavailable"})
    with refused("Unavailable"):
        ec2.describe_network_interfaces()
    ec2.describe_network_interfaces(Filters=[{"Name": "subnet-id", "Values": [subnet]}])


def test_throttling_empties_and_fills_a_bucket(ec2, server, subnet):
    server.fault(operations=["DescribeSubnets"], throttle={"capacity": 3, "per_second": 0.5})
    found = outcomes(lambda: ec2.describe_subnets(SubnetIds=[subnet]), 5)
    assert found == ["ok"] * 3 + ["RequestLimitExceeded"] * 2
    server.advance(4)
    assert outcomes(lambda: ec2.describe_subnets(SubnetIds=[subnet]), 3) == ["ok", "ok", "RequestLimitExceeded"]


def test_throttling_answers_with_status_503(ec2, server, subnet):
    server.fault(throttle={"capacity": 0, "per_second": 0, "code": "Client.RequestLimitExceeded"})
    with pytest.raises(ClientError) as caught:
        ec2.describe_subnets(SubnetIds=[subnet])
    assert caught.value.response["Error"]["Code"] == "Client.RequestLimitExceeded"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503


def test_throttling_by_operation_leaves_other_operations_alone(ec2, server, subnet, vpc):
    server.fault(throttle={"capacity": 1, "per_second": 0, "per": "operation"})
    assert outcomes(lambda: ec2.describe_subnets(SubnetIds=[subnet]), 2) == ["ok", "RequestLimitExceeded"]
    assert outcomes(lambda: ec2.describe_vpcs(VpcIds=[vpc["VpcId"]]), 2) == ["ok", "RequestLimitExceeded"]


def test_the_documented_buckets_throttle_mutations_at_fifty(ec2, server, interface):
    server.fault(throttle="documented")
    tag = {"Resources": [interface], "Tags": [{"Key": "a", "Value": "1"}]}
    assert outcomes(lambda: ec2.create_tags(**tag), 51) == ["ok"] * 50 + ["RequestLimitExceeded"]
    server.advance(1)
    assert outcomes(lambda: ec2.create_tags(**tag), 6) == ["ok"] * 5 + ["RequestLimitExceeded"]


def test_a_lost_answer_is_of_a_call_that_was_done(ec2, server, interface):
    server.fault(operations=["AssignPrivateIpAddresses"], count=1, lose_answer=True)
    with pytest.raises(BotoCoreError):
        assign(ec2, interface, 2)
    assert len(addresses(shown(ec2, interface))) == 3


def test_a_client_token_survives_a_lost_answer(ec2, server, subnet):
    server.fault(operations=["CreateNetworkInterface"], count=1, lose_answer=True)
    request = {"SubnetId": subnet, "ClientToken": f"token-{subnet}"}
    before = free_count(ec2, subnet)
    with pytest.raises(BotoCoreError):
        ec2.create_network_interface(**request)
    ec2.create_network_interface(**request)
    assert free_count(ec2, subnet) == before - 1


def test_a_dropped_request_was_not_done(ec2, server, interface):
    server.fault(operations=["AssignPrivateIpAddresses"], count=1, drop_request=True)
    with pytest.raises(BotoCoreError):
        assign(ec2, interface)
    assert len(addresses(shown(ec2, interface))) == 1


def test_a_truncated_answer_is_of_a_call_that_was_done(ec2, server, interface):
    server.fault(operations=["AssignPrivateIpAddresses"], count=1, truncate=True)
    # More patient than any machine is slow, less than the gateway is with an idle connection.
    with pytest.raises(BotoCoreError) as caught:
        assign(server.client(timeout=40), interface)
    assert not isinstance(caught.value, ReadTimeoutError), "the connection was left open"
    assert len(addresses(shown(ec2, interface))) == 2


def test_the_connection_of_another_call_is_not_hurt(ec2, server, subnet, interface):
    server.fault(operations=["AssignPrivateIpAddresses"], lose_answer=True)
    for _ in range(3):
        with pytest.raises(BotoCoreError):
            assign(ec2, interface)
        assert free_count(ec2, subnet) > 0


def test_a_slow_call_exceeds_the_clients_patience_and_is_done_all_the_same(server, interface):
    server.fault(operations=["AssignPrivateIpAddresses"], count=1, latency_seconds=2)
    with pytest.raises(ReadTimeoutError):
        assign(server.client(timeout=0.2), interface)
    deadline = time.monotonic() + 120
    while not server.control("GET", "calls")["operations"].get("AssignPrivateIpAddresses"):
        assert time.monotonic() < deadline, "the call was never finished"
        time.sleep(0.05)
    assert len(addresses(shown(server.client(), interface))) == 2


def test_a_permission_can_be_taken_and_given_back(ec2, server, interface):
    rule = server.fault(operations=["AssignPrivateIpAddresses"], deny=True)
    with pytest.raises(ClientError) as caught:
        assign(ec2, interface)
    assert caught.value.response["Error"]["Code"] == "UnauthorizedOperation"
    assert "Encoded authorization failure message" in caught.value.response["Error"]["Message"]
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    server.control("DELETE", f"faults/{rule['id']}")
    assign(ec2, interface)


def test_a_denial_can_be_decoded_by_who_may(ec2, server, interface):
    server.fault(operations=["AssignPrivateIpAddresses"], deny=True)
    with pytest.raises(ClientError) as caught:
        assign(ec2, interface)
    encoded = caught.value.response["Error"]["Message"].rsplit(" ", 1)[1]
    sts = server.client(service="sts")
    decoded = json.loads(sts.decode_authorization_message(EncodedMessage=encoded)["DecodedMessage"])
    assert decoded["allowed"] is False
    assert decoded["context"]["action"] == "ec2:AssignPrivateIpAddresses"
    server.fault(operations=["sts:DecodeAuthorizationMessage"], deny=True)
    with refused("AccessDenied"):
        sts.decode_authorization_message(EncodedMessage=encoded)


def test_a_denied_dry_run_is_denied(ec2, server, subnet):
    server.fault(operations=["CreateNetworkInterface"], deny=True)
    with refused("UnauthorizedOperation"):
        ec2.create_network_interface(SubnetId=subnet, DryRun=True)


def test_credentials_can_expire(ec2, server, interface):
    server.fault(access_key="test", expired=True)
    with refused("RequestExpired"):
        assign(ec2, interface)
    with refused("ExpiredToken"):
        server.client(service="sts").get_caller_identity()
    assign(server.client("renewed"), interface)


def test_a_rule_that_makes_no_sense_is_refused(server):
    for rule in ({"operations": ["*"]}, {"eror": {}}, {"error": {}}, {"throttle": {"capacity": 1}}):
        assert "problem" in server.control("POST", "faults", rule), rule


def test_rules_show_how_often_they_struck(ec2, server, interface):
    server.fault(operations=["AssignPrivateIpAddresses"], after=2, error={"code": "Unavailable"})
    outcomes(lambda: assign(ec2, interface), 3)
    rule = server.control("GET", "faults")["faults"][0]
    assert (rule["seen"], rule["hits"]) == (3, 1)


def test_calls_are_counted_by_operation_family_and_outcome(ec2, server, subnet, interface):
    server.control("DELETE", "calls")
    assign(ec2, interface)
    with refused("InvalidNetworkInterfaceID.NotFound"):
        shown(ec2, "eni-0123456789abcdef0")
    ec2.describe_network_interfaces()
    ec2.describe_vpcs()
    counts = server.control("GET", "calls")
    assert counts["total"] == 4
    assert counts["families"] == {"mutating": 1, "non-mutating": 1, "unfiltered": 2}
    assert counts["operations"]["AssignPrivateIpAddresses"] == {"calls": 1, "outcomes": {"ok": 1}}
    assert counts["operations"]["DescribeNetworkInterfaces"]["outcomes"] == {
        "InvalidNetworkInterfaceID.NotFound": 1, "ok": 1,
    }
    log = server.control("GET", "calls?log=1")["log"]
    assert [entry["operation"] for entry in log][0] == "AssignPrivateIpAddresses"
    assert log[0]["request"]["NetworkInterfaceId"] == interface


def test_calls_of_one_access_key_are_counted_apart(ec2, server, subnet):
    server.control("DELETE", "calls")
    ec2.describe_subnets(SubnetIds=[subnet])
    server.client("node-b").describe_subnets(SubnetIds=[subnet])
    server.client("node-b").describe_vpcs()
    assert server.control("GET", "calls")["access_keys"] == {"test": 1, "node-b": 2}
    assert server.control("GET", "calls?access_key=node-b")["total"] == 2


def test_lost_answers_are_counted_as_such(ec2, server, interface):
    server.fault(operations=["AssignPrivateIpAddresses"], lose_answer=True)
    with pytest.raises(BotoCoreError):
        assign(ec2, interface)
    counts = server.control("GET", "calls")["operations"]["AssignPrivateIpAddresses"]
    assert counts["outcomes"] == {"lose-answer": 1}


def test_the_state_shows_the_truth_behind_the_lag(ec2, server, subnet, instance, make_interface):
    server.advance(3601)
    server.knobs(describe_lag_seconds=3600)
    interface = make_interface(Ipv4PrefixCount=1)
    ec2.attach_network_interface(InstanceId=instance, NetworkInterfaceId=interface, DeviceIndex=1)
    state = next(r for r in server.control("GET", "state")["regions"] if r["region"] == "us-east-1")
    found = next(i for i in state["interfaces"] if i["NetworkInterfaceId"] == interface)
    assert found["Attachment"]["InstanceId"] == instance and len(found["Ipv4Prefixes"]) == 1
    assert found["Visible"] is False
    assert interface in next(i for i in state["instances"] if i["InstanceId"] == instance)["NetworkInterfaceIds"]
    assert next(s for s in state["subnets"] if s["SubnetId"] == subnet)["AvailableIpAddressCount"] == 251 - 18


def test_unfit_knobs_are_refused_and_change_nothing(server):
    before = server.control("GET", "knobs")
    answer = server.control("POST", "knobs", {"attach_seconds": 5, "detach_seconds": -1, "colour": "blue"})
    assert "detach_seconds=-1" in answer["problem"] and "colour=blue" in answer["problem"]
    assert server.control("GET", "knobs") == before


def test_knobs_and_faults_come_from_the_environment(request):
    if request.config.getoption("--without-hook"):
        pytest.fail("stock LocalStack has no knobs")
    environment = {
        "VENI_EC2_ADDRESS_ORDER": "lowest",
        "VENI_EC2_FAULTS": '[{"operations": ["DescribeVpcs"], "error": {"code": "Unavailable"}}]',
    }
    with running_server(**environment) as server:
        ec2 = server.client()
        with refused("Unavailable"):
            ec2.describe_vpcs()
        vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24")["Subnet"]["SubnetId"]
        made = ec2.create_network_interface(SubnetId=subnet, SecondaryPrivateIpAddressCount=2)["NetworkInterface"]
        assert addresses(made) == ["10.0.1.4", "10.0.1.5", "10.0.1.6"]


def test_a_parameter_that_is_unknown_fails_the_calls_that_carry_it(ec2, server, subnet):
    server.fault(unknown_parameter="MaxResults")
    chosen = [{"Name": "subnet-id", "Values": [subnet]}]
    with refused("UnknownParameter", "MaxResults"):
        ec2.describe_network_interfaces(Filters=chosen, MaxResults=5)
    ec2.describe_network_interfaces(Filters=chosen)
