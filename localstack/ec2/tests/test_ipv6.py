"""IPv6 addresses and /80 prefixes."""

import ipaddress

import pytest
from conftest import refused, shown


@pytest.fixture
def network(ec2, subnet):
    found = ec2.describe_subnets(SubnetIds=[subnet])["Subnets"][0]["Ipv6CidrBlockAssociationSet"]
    return ipaddress.ip_network(found[0]["Ipv6CidrBlock"])


def test_assigning_answers_the_new_addresses_only(ec2, interface, network):
    first = ec2.assign_ipv6_addresses(NetworkInterfaceId=interface, Ipv6AddressCount=2)["AssignedIpv6Addresses"]
    second = ec2.assign_ipv6_addresses(NetworkInterfaceId=interface, Ipv6AddressCount=1)["AssignedIpv6Addresses"]
    assert len(first) == 2 and len(second) == 1 and not set(first) & set(second)
    assert all(ipaddress.ip_address(a) in network for a in first + second)
    assert [a["Ipv6Address"] for a in shown(ec2, interface)["Ipv6Addresses"]] == first + second


def test_prefixes_are_aligned_and_answered_when_new(ec2, interface, network):
    first = ec2.assign_ipv6_addresses(NetworkInterfaceId=interface, Ipv6PrefixCount=1)["AssignedIpv6Prefixes"]
    second = ec2.assign_ipv6_addresses(NetworkInterfaceId=interface, Ipv6PrefixCount=1)["AssignedIpv6Prefixes"]
    assert first != second
    for prefix in first + second:
        block = ipaddress.ip_network(prefix)
        assert block.prefixlen == 80 and block.subnet_of(network)
    assert [p["Ipv6Prefix"] for p in shown(ec2, interface)["Ipv6Prefixes"]] == first + second


def test_an_interface_can_be_created_with_addresses_or_prefixes(ec2, make_interface):
    assert len(shown(ec2, make_interface(Ipv6AddressCount=2))["Ipv6Addresses"]) == 2
    assert len(shown(ec2, make_interface(Ipv6PrefixCount=1))["Ipv6Prefixes"]) == 1


def test_a_named_address_is_assigned_once(ec2, interface, make_interface, network):
    address = str(network.network_address + 0x77)
    answer = ec2.assign_ipv6_addresses(NetworkInterfaceId=interface, Ipv6Addresses=[address])
    assert answer["AssignedIpv6Addresses"] == [address]
    with refused("InvalidIPAddress.InUse"):
        ec2.assign_ipv6_addresses(NetworkInterfaceId=make_interface(), Ipv6Addresses=[address])


def test_what_is_not_assigned_cannot_be_unassigned(ec2, interface, network):
    with refused("InvalidParameterValue", "are not assigned to interface"):
        ec2.unassign_ipv6_addresses(NetworkInterfaceId=interface, Ipv6Addresses=[str(network.network_address + 9)])


def test_prefixes_are_unassigned(ec2, interface):
    given = ec2.assign_ipv6_addresses(NetworkInterfaceId=interface, Ipv6PrefixCount=2)["AssignedIpv6Prefixes"]
    answer = ec2.unassign_ipv6_addresses(NetworkInterfaceId=interface, Ipv6Prefixes=given[:1])
    assert answer["UnassignedIpv6Prefixes"] == given[:1]
    assert [p["Ipv6Prefix"] for p in shown(ec2, interface)["Ipv6Prefixes"]] == given[1:]


def test_addresses_and_prefixes_cannot_be_asked_for_together(ec2, interface):
    with refused("InvalidParameterCombination"):
        ec2.assign_ipv6_addresses(NetworkInterfaceId=interface, Ipv6AddressCount=1, Ipv6PrefixCount=1)


def test_a_subnet_without_ipv6_gives_none(ec2, make_subnet, make_interface):
    interface = make_interface(SubnetId=make_subnet("10.0.9.0/24"))
    with refused("InvalidParameterValue"):
        ec2.assign_ipv6_addresses(NetworkInterfaceId=interface, Ipv6AddressCount=1)
