"""IPv4 prefix delegation: aligned, whole, counted, and short when the subnet is."""

import ipaddress

from conftest import free_count, refused, shown


def assign(ec2, interface, count):
    answer = ec2.assign_private_ip_addresses(NetworkInterfaceId=interface, Ipv4PrefixCount=count)
    assert answer["AssignedPrivateIpAddresses"] == []
    return [p["Ipv4Prefix"] for p in answer["AssignedIpv4Prefixes"]]


def prefixes(ec2, interface):
    return [p["Ipv4Prefix"] for p in shown(ec2, interface)["Ipv4Prefixes"]]


def test_assigning_prefixes_answers_the_new_ones_only(ec2, interface):
    first, second = assign(ec2, interface, 1), assign(ec2, interface, 2)
    assert len(first) == 1 and len(second) == 2
    assert sorted(prefixes(ec2, interface)) == sorted(first + second)


def test_prefixes_are_aligned_and_hold_no_reserved_and_no_used_address(ec2, make_subnet, make_interface):
    subnet = make_subnet("10.0.8.0/25")
    interface = make_interface(SubnetId=subnet, PrivateIpAddress="10.0.8.40")
    given = assign(ec2, interface, 5)
    # Of eight blocks the first and the last hold reserved addresses, and the third the primary one.
    expected = {f"10.0.8.{base}/28" for base in (16, 48, 64, 80, 96)}
    assert set(given) == expected
    assert all(ipaddress.ip_network(p).prefixlen == 28 for p in given)
    with refused("InsufficientCidrBlocks"):
        assign(ec2, interface, 1)


def test_an_interface_can_be_created_with_prefixes(ec2, make_interface):
    assert len(prefixes(ec2, make_interface(Ipv4PrefixCount=3))) == 3


def test_a_prefix_takes_sixteen_free_addresses(ec2, subnet, interface):
    before = free_count(ec2, subnet)
    given = assign(ec2, interface, 2)
    assert free_count(ec2, subnet) == before - 32
    ec2.unassign_private_ip_addresses(NetworkInterfaceId=interface, Ipv4Prefixes=given[:1])
    assert free_count(ec2, subnet) == before - 16
    assert prefixes(ec2, interface) == given[1:]


def test_no_single_address_comes_out_of_a_delegated_prefix(ec2, make_subnet, make_interface):
    subnet = make_subnet("10.0.8.0/26")
    holder = make_interface(SubnetId=subnet, PrivateIpAddress="10.0.8.5", Ipv4PrefixCount=2)
    taken = [ipaddress.ip_network(p) for p in prefixes(ec2, holder)]
    other = make_interface(SubnetId=subnet, SecondaryPrivateIpAddressCount=20)
    for address in shown(ec2, other)["PrivateIpAddresses"]:
        assert not any(ipaddress.ip_address(address["PrivateIpAddress"]) in block for block in taken)


def test_a_fragmented_subnet_has_addresses_but_no_prefix(ec2, server, subnet, interface):
    server.fill(subnet, fragment=True)
    assert free_count(ec2, subnet) > 200
    with refused("InsufficientCidrBlocks", "does not have enough free cidr blocks"):
        assign(ec2, interface, 1)
    answer = ec2.assign_private_ip_addresses(NetworkInterfaceId=interface, SecondaryPrivateIpAddressCount=5)
    assert len(answer["AssignedPrivateIpAddresses"]) == 5


def test_a_fragmented_subnet_has_prefixes_again_when_the_fragments_go(ec2, server, subnet, interface):
    server.fill(subnet, fragment=True)
    with refused("InsufficientCidrBlocks"):
        assign(ec2, interface, 1)
    server.fill(subnet, clear=True)
    assert len(assign(ec2, interface, 1)) == 1


def test_a_subnet_at_capacity_refuses_prefixes_as_a_bad_value(ec2, server, subnet, interface, make_interface):
    server.fill(subnet, leave=10)
    text = "There aren't sufficient free Ipv4 addresses or prefixes"
    with refused("InvalidParameterValue", text):
        assign(ec2, interface, 1)
    with refused("InvalidParameterValue", text):
        make_interface(Ipv4PrefixCount=1)


def test_a_refused_creation_leaves_nothing_behind(ec2, server, subnet, make_interface):
    server.fill(subnet, fragment=True)
    before = free_count(ec2, subnet)
    with refused("InsufficientCidrBlocks"):
        make_interface(Ipv4PrefixCount=1)
    assert free_count(ec2, subnet) == before
    found = ec2.describe_network_interfaces(Filters=[{"Name": "subnet-id", "Values": [subnet]}])
    assert found["NetworkInterfaces"] == []


def test_a_named_prefix_is_assigned_once(ec2, make_interface):
    first = make_interface(PrivateIpAddress="10.0.1.10")
    second = make_interface(PrivateIpAddress="10.0.1.11")
    answer = ec2.assign_private_ip_addresses(NetworkInterfaceId=first, Ipv4Prefixes=["10.0.1.64/28"])
    assert answer["AssignedIpv4Prefixes"] == [{"Ipv4Prefix": "10.0.1.64/28"}]
    with refused("InvalidParameterValue"):
        ec2.assign_private_ip_addresses(NetworkInterfaceId=second, Ipv4Prefixes=["10.0.1.64/28"])


def test_a_prefix_that_is_not_assigned_cannot_be_unassigned(ec2, interface):
    with refused("InvalidParameterValue", "are not assigned to interface"):
        ec2.unassign_private_ip_addresses(NetworkInterfaceId=interface, Ipv4Prefixes=["10.0.1.64/28"])


def test_addresses_and_prefixes_cannot_be_asked_for_together(ec2, make_interface, interface):
    with refused("InvalidParameterCombination"):
        make_interface(Ipv4PrefixCount=1, SecondaryPrivateIpAddressCount=1)
    with refused("InvalidParameterCombination"):
        ec2.assign_private_ip_addresses(
            NetworkInterfaceId=interface, Ipv4PrefixCount=1, SecondaryPrivateIpAddressCount=1
        )


def test_a_prefix_reservation_is_used_first_and_for_prefixes_only(ec2, server, subnet, make_interface):
    server.knobs(address_order="lowest")
    ec2.create_subnet_cidr_reservation(SubnetId=subnet, Cidr="10.0.1.192/27", ReservationType="prefix")
    assert free_count(ec2, subnet) == 251 - 32
    interface = make_interface(Ipv4PrefixCount=2)
    assert set(prefixes(ec2, interface)) == {"10.0.1.192/28", "10.0.1.208/28"}
    assert free_count(ec2, subnet) == 251 - 32 - 1
    assert prefixes(ec2, make_interface(Ipv4PrefixCount=1)) == ["10.0.1.16/28"]
