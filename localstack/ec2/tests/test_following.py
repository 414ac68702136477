"""Following a VPC's state: changes wake a follower, and their answers wait for it."""

import threading
from collections.abc import Callable
from typing import Any

LONG = 50
"""Seconds that a question may wait when an event is to answer it sooner."""
PATIENCE = 120
"""Seconds after which an event that was to come has not come."""


class Background:
    """A call in a thread, and its answer."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.answer: Any = None
        self._thread = threading.Thread(target=self._run, args=(call,), daemon=True)
        self._thread.start()

    def _run(self, call: Callable[[], Any]) -> None:
        self.answer = call()

    def is_done(self) -> bool:
        return not self._thread.is_alive()

    def result(self) -> Any:
        self._thread.join(PATIENCE)
        assert self.is_done(), "the call was never answered"
        return self.answer


def look(server, vpc, after=None, wait=0, follow=False):
    """The state of a VPC."""
    path = f"state?vpc={vpc['VpcId']}&wait={wait}" + ("" if after is None else f"&after={after}")
    return server.control("GET", path + ("&follow=1" if follow else ""))


def interfaces(state):
    """All interfaces of a state, by id."""
    return {one["NetworkInterfaceId"]: one for region in state["regions"] for one in region["interfaces"]}


def described(ec2, vpc):
    """What DescribeNetworkInterfaces shows of a VPC, by id."""
    answer = ec2.describe_network_interfaces(Filters=[{"Name": "vpc-id", "Values": [vpc["VpcId"]]}])
    return {one["NetworkInterfaceId"]: one for one in answer["NetworkInterfaces"]}


def assign(ec2, interface):
    answer = ec2.assign_private_ip_addresses(NetworkInterfaceId=interface, SecondaryPrivateIpAddressCount=1)
    return answer["AssignedPrivateIpAddresses"][0]["PrivateIpAddress"]


def test_a_state_that_has_not_changed_is_told_after_the_wait(server, vpc, interface):
    known = look(server, vpc)["generation"]
    assert look(server, vpc, known, wait=0.1)["generation"] == known


def test_a_state_that_has_changed_already_is_told_at_once(server, ec2, vpc, interface):
    known = look(server, vpc)["generation"]
    assign(ec2, interface)
    assert look(server, vpc, known, wait=LONG)["generation"] != known


def test_a_change_ends_the_wait_and_is_in_what_is_told(server, ec2, vpc, interface):
    known = look(server, vpc)["generation"]
    waiting = Background(lambda: look(server, vpc, known, wait=LONG))
    address = assign(ec2, interface)
    told = interfaces(waiting.result())[interface]
    assert address in [one["PrivateIpAddress"] for one in told["PrivateIpAddresses"]]


def test_an_attachment_that_completes_ends_the_wait(server, ec2, vpc, instance, interface):
    server.knobs(attach_seconds=600)
    ec2.attach_network_interface(InstanceId=instance, NetworkInterfaceId=interface, DeviceIndex=1)
    before = look(server, vpc)
    assert interfaces(before)[interface]["Attachment"]["Status"] == "attaching"
    waiting = Background(lambda: look(server, vpc, before["generation"], wait=LONG))
    server.advance(601)
    assert interfaces(waiting.result())[interface]["Attachment"]["Status"] == "attached"


def test_an_attachment_completes_for_who_waits_without_any_other_call(server, ec2, vpc, instance, interface):
    server.control("POST", "clock", {"frozen": False})
    server.knobs(attach_seconds=0.5)
    ec2.attach_network_interface(InstanceId=instance, NetworkInterfaceId=interface, DeviceIndex=1)
    told = look(server, vpc)
    while interfaces(told)[interface]["Attachment"]["Status"] == "attaching":
        known = told["generation"]
        told = look(server, vpc, known, wait=LONG)
        assert told["generation"] != known, "the wait ended without a change"
    assert interfaces(told)[interface]["Attachment"]["Status"] == "attached"


def test_a_deleted_interface_is_gone_from_what_is_told(server, ec2, vpc, interface):
    before = look(server, vpc)
    assert interface in interfaces(before)
    waiting = Background(lambda: look(server, vpc, before["generation"], wait=LONG))
    ec2.delete_network_interface(NetworkInterfaceId=interface)
    assert interface not in interfaces(waiting.result())


def test_a_security_group_s_rules_are_told_when_they_change(server, ec2, vpc):
    group = ec2.create_security_group(GroupName="members", Description="-", VpcId=vpc["VpcId"])["GroupId"]
    known = look(server, vpc)["generation"]
    waiting = Background(lambda: look(server, vpc, known, wait=LONG))
    ec2.authorize_security_group_ingress(
        GroupId=group,
        IpPermissions=[
            {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]},
            {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 90, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]},
        ],
    )
    regions = waiting.result()["regions"]
    shown = next(one for region in regions for one in region["security_groups"] if one["GroupId"] == group)
    assert shown["Ingress"] == [
        {"IpProtocol": "-1", "FromPort": None, "ToPort": None, "Cidr": None, "GroupId": group},
        {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 90, "Cidr": "10.0.0.0/8", "GroupId": None},
    ]
    assert {rule["Cidr"] for rule in shown["Egress"]} == {"0.0.0.0/0", "::/0"}


def test_other_vpcs_are_neither_told_nor_a_reason_to_tell(server, ec2, vpc, interface):
    other = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]
    known = look(server, other)
    assert interfaces(known) == {}
    assign(ec2, interface)
    assert look(server, other)["generation"] == known["generation"]


def test_the_answer_to_a_change_waits_for_the_follower(server, ec2, vpc, interface):
    server.knobs(follower_patience_seconds=PATIENCE)
    known = look(server, vpc)["generation"]
    look(server, vpc, known, follow=True)
    change = Background(lambda: assign(ec2, interface))
    told = look(server, vpc, known, wait=LONG, follow=True)
    assert told["generation"] != known and not change.is_done()
    look(server, vpc, told["generation"], follow=True)
    change.result()


def test_what_the_follower_has_not_acted_on_is_not_shown(server, ec2, vpc, interface):
    server.knobs(follower_patience_seconds=PATIENCE)
    other = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]
    known = look(server, vpc)["generation"]
    look(server, vpc, known, follow=True)
    change = Background(lambda: assign(ec2, interface))
    told = look(server, vpc, known, wait=LONG, follow=True)
    showing = Background(lambda: described(ec2, vpc))
    assert described(ec2, other) == {}
    assert not showing.is_done() and not change.is_done()
    look(server, vpc, told["generation"], follow=True)
    addresses = showing.result()[interface]["PrivateIpAddresses"]
    assert change.result() in [one["PrivateIpAddress"] for one in addresses]


def test_a_change_by_a_stock_call_is_one_of_the_vpcs_that_it_names(server, ec2, vpc):
    other = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]
    before, elsewhere = look(server, vpc)["generation"], look(server, other)["generation"]
    group = ec2.create_security_group(GroupName="by-name", Description="-", VpcId=vpc["VpcId"])["GroupId"]
    after = look(server, vpc)["generation"]
    ec2.delete_security_group(GroupId=group)
    assert before < after < look(server, vpc)["generation"]
    assert look(server, other)["generation"] == elsewhere


def test_a_follower_that_has_gone_is_not_waited_for_again(server, ec2, vpc, interface):
    look(server, vpc, look(server, vpc)["generation"], follow=True)
    server.knobs(follower_patience_seconds=0.1)
    assign(ec2, interface)
    server.knobs(follower_patience_seconds=10 * PATIENCE)
    Background(lambda: assign(ec2, interface)).result()


def test_a_change_of_another_vpc_does_not_wait_for_the_follower(server, ec2, vpc, interface):
    other = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]
    look(server, other, look(server, other)["generation"], follow=True)
    server.knobs(follower_patience_seconds=10 * PATIENCE)
    Background(lambda: assign(ec2, interface)).result()


def test_a_follower_that_is_said_to_have_ended_is_not_waited_for(server, ec2, vpc, interface):
    server.knobs(follower_patience_seconds=10 * PATIENCE)
    known = look(server, vpc)["generation"]
    look(server, vpc, known, follow=True)
    change = Background(lambda: assign(ec2, interface))
    look(server, vpc, known, wait=LONG)
    assert not change.is_done()
    assert server.control("DELETE", f"followers/{vpc['VpcId']}") == {"removed": True}
    change.result()
    Background(lambda: assign(ec2, interface)).result()
    assert server.control("DELETE", f"followers/{vpc['VpcId']}") == {"removed": False}
