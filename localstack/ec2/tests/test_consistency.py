"""Eventual consistency: a Describe shows changes later than they were made."""

import pytest
from conftest import addresses, free_count, refused, shown


@pytest.fixture
def lag(server):
    """A lag of an hour; answers a function that lets it pass."""
    server.advance(3601)
    server.knobs(describe_lag_seconds=3600)
    return lambda: server.advance(3601)


def test_a_new_interface_is_not_described_yet(ec2, subnet, lag, make_interface):
    interface = make_interface()
    with refused("InvalidNetworkInterfaceID.NotFound"):
        shown(ec2, interface)
    found = ec2.describe_network_interfaces(Filters=[{"Name": "subnet-id", "Values": [subnet]}])
    assert found["NetworkInterfaces"] == []
    lag()
    assert shown(ec2, interface)["NetworkInterfaceId"] == interface


def test_new_addresses_are_answered_at_once_and_described_later(ec2, interface, lag):
    lag()
    answer = ec2.assign_private_ip_addresses(NetworkInterfaceId=interface, SecondaryPrivateIpAddressCount=2)
    assert len(answer["AssignedPrivateIpAddresses"]) == 2
    assert len(addresses(shown(ec2, interface))) == 1
    lag()
    assert len(addresses(shown(ec2, interface))) == 3


def test_released_addresses_are_described_a_while_longer(ec2, make_interface, lag):
    interface = make_interface(SecondaryPrivateIpAddressCount=2)
    lag()
    gone = addresses(shown(ec2, interface))[1:]
    ec2.unassign_private_ip_addresses(NetworkInterfaceId=interface, PrivateIpAddresses=gone)
    assert addresses(shown(ec2, interface))[1:] == gone
    lag()
    assert len(addresses(shown(ec2, interface))) == 1


def test_a_released_address_can_be_given_away_while_it_is_still_described(ec2, make_interface, lag):
    interface = make_interface(PrivateIpAddresses=[{"PrivateIpAddress": "10.0.1.60", "Primary": False}])
    lag()
    ec2.unassign_private_ip_addresses(NetworkInterfaceId=interface, PrivateIpAddresses=["10.0.1.60"])
    other = make_interface(PrivateIpAddress="10.0.1.60")
    assert "10.0.1.60" in addresses(shown(ec2, interface))
    lag()
    assert "10.0.1.60" not in addresses(shown(ec2, interface))
    assert addresses(shown(ec2, other)) == ["10.0.1.60"]


def test_attachments_of_an_instance_lag_too(ec2, instance, interface, lag):
    lag()
    ec2.attach_network_interface(InstanceId=instance, NetworkInterfaceId=interface, DeviceIndex=1)

    def count():
        found = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
        return len(found["NetworkInterfaces"])

    assert count() == 1 and shown(ec2, interface)["Status"] == "available"
    lag()
    assert count() == 2 and shown(ec2, interface)["Status"] == "in-use"


def test_free_counts_lag_too(ec2, subnet, interface, lag):
    lag()
    before = free_count(ec2, subnet)
    ec2.assign_private_ip_addresses(NetworkInterfaceId=interface, SecondaryPrivateIpAddressCount=5)
    assert free_count(ec2, subnet) == before
    lag()
    assert free_count(ec2, subnet) == before - 5


def test_tags_lag_too(ec2, interface, lag):
    lag()
    ec2.create_tags(Resources=[interface], Tags=[{"Key": "a", "Value": "1"}])
    assert shown(ec2, interface)["TagSet"] == []
    lag()
    assert shown(ec2, interface)["TagSet"] == [{"Key": "a", "Value": "1"}]


def test_a_deleted_interface_is_described_a_while_longer(ec2, interface, lag):
    lag()
    ec2.delete_network_interface(NetworkInterfaceId=interface)
    assert shown(ec2, interface)["NetworkInterfaceId"] == interface
    with refused("InvalidNetworkInterfaceID.NotFound"):
        ec2.delete_network_interface(NetworkInterfaceId=interface)
    lag()
    with refused("InvalidNetworkInterfaceID.NotFound"):
        shown(ec2, interface)


def test_states_are_described_with_the_same_lag(ec2, server, instance, interface, lag):
    lag()
    server.knobs(attach_seconds=10)
    ec2.attach_network_interface(InstanceId=instance, NetworkInterfaceId=interface, DeviceIndex=1)
    server.advance(3605)
    assert shown(ec2, interface)["Attachment"]["Status"] == "attaching"
    server.advance(10)
    assert shown(ec2, interface)["Attachment"]["Status"] == "attached"


def test_other_calls_do_not_find_a_new_interface_yet_when_told_so(ec2, server, instance, make_interface):
    server.knobs(create_visibility_seconds=100)
    interface = make_interface()
    with refused("InvalidNetworkInterfaceID.NotFound"):
        ec2.attach_network_interface(InstanceId=instance, NetworkInterfaceId=interface, DeviceIndex=1)
    server.advance(101)
    ec2.attach_network_interface(InstanceId=instance, NetworkInterfaceId=interface, DeviceIndex=1)


def test_a_vpc_may_have_knobs_of_its_own(ec2, server, subnet, make_interface):
    vpc = ec2.describe_subnets(SubnetIds=[subnet])["Subnets"][0]["VpcId"]
    other = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    elsewhere = ec2.create_subnet(VpcId=other, CidrBlock="10.9.0.0/24")["Subnet"]["SubnetId"]
    server.advance(3601)
    answer = server.control("POST", f"knobs?vpc={vpc}", {"describe_lag_seconds": 3600})
    assert answer["describe_lag_seconds"] == 3600
    assert server.control("GET", "knobs")["describe_lag_seconds"] == 0
    late, prompt = make_interface(), make_interface(SubnetId=elsewhere)
    assert shown(ec2, prompt)["NetworkInterfaceId"] == prompt
    with refused("InvalidNetworkInterfaceID.NotFound"):
        shown(ec2, late)
    server.advance(3601)
    assert shown(ec2, late)["NetworkInterfaceId"] == late
    refusal = server.control("POST", f"knobs?vpc={vpc}", {"seed": 7, "attach_seconds": 5})
    assert "seed=7: is one for all VPCs" in refusal["problem"]
    assert server.control("GET", f"knobs?vpc={vpc}")["attach_seconds"] == 0
