"""IPv4 addresses: free, distinct, never reserved, counted right."""

import ipaddress
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import ClientError
from conftest import addresses, free_count, refused, shown


def assign(ec2, interface, count):
    answer = ec2.assign_private_ip_addresses(NetworkInterfaceId=interface, SecondaryPrivateIpAddressCount=count)
    return [a["PrivateIpAddress"] for a in answer["AssignedPrivateIpAddresses"]]


def test_a_new_subnet_has_all_addresses_but_the_five_reserved_ones(ec2, make_subnet):
    assert free_count(ec2, make_subnet("10.0.8.0/28")) == 11


def test_every_address_of_a_subnet_is_handed_out_once_and_no_reserved_one(ec2, make_subnet, make_interface):
    subnet = make_subnet("10.0.8.0/27")
    interface = make_interface(SubnetId=subnet)
    for _ in range(26):
        assign(ec2, interface, 1)
    network = ipaddress.ip_network("10.0.8.0/27")
    expected = [str(a) for a in network][4:-1]
    assert sorted(addresses(shown(ec2, interface)), key=ipaddress.ip_address) == expected


def test_two_interfaces_never_share_an_address(ec2, make_subnet, make_interface):
    subnet = make_subnet("10.0.8.0/26")
    found = []
    for _ in range(5):
        interface = make_interface(SubnetId=subnet, SecondaryPrivateIpAddressCount=9)
        found += addresses(shown(ec2, interface))
    assert len(found) == len(set(found)) == 50


def test_calls_at_once_share_no_address_and_exceed_no_limit(ec2, make_subnet, make_interface):
    subnet = make_subnet("10.0.8.0/26")
    interfaces = [make_interface(SubnetId=subnet) for _ in range(4)]

    def assign_until_refused(interface):
        found = []
        try:
            while True:
                found += assign(ec2, interface, 3)
        except ClientError as error:
            assert error.response["Error"]["Code"] == "InsufficientFreeAddressesInSubnet"
        return found

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(assign_until_refused, interfaces * 2))
    found = [address for result in results for address in result]
    assert len(found) == len(set(found)) == 54
    assert free_count(ec2, subnet) == 1


def test_assigning_answers_the_new_addresses_only(ec2, interface):
    first = assign(ec2, interface, 2)
    second = assign(ec2, interface, 3)
    assert len(first) == 2 and len(second) == 3
    assert not set(first) & set(second)
    assert set(addresses(shown(ec2, interface))[1:]) == set(first + second)


def test_the_free_count_falls_and_rises_with_each_address(ec2, subnet, interface):
    before = free_count(ec2, subnet)
    new = assign(ec2, interface, 4)
    assert free_count(ec2, subnet) == before - 4
    ec2.unassign_private_ip_addresses(NetworkInterfaceId=interface, PrivateIpAddresses=new[:3])
    assert free_count(ec2, subnet) == before - 1


def test_a_full_subnet_refuses_and_its_count_stays_at_zero(ec2, make_subnet, make_interface):
    subnet = make_subnet("10.0.8.0/28")
    interface = make_interface(SubnetId=subnet, SecondaryPrivateIpAddressCount=10)
    with refused("InsufficientFreeAddressesInSubnet", "does not have enough free addresses"):
        assign(ec2, interface, 1)
    with refused("InsufficientFreeAddressesInSubnet"):
        make_interface(SubnetId=subnet)
    assert free_count(ec2, subnet) == 0


def test_more_than_is_free_is_refused_as_a_whole(ec2, server, subnet, interface):
    server.fill(subnet, leave=3)
    with refused("InsufficientFreeAddressesInSubnet"):
        assign(ec2, interface, 4)
    assert free_count(ec2, subnet) == 3
    assert len(assign(ec2, interface, 3)) == 3


def test_a_named_address_is_assigned(ec2, interface):
    answer = ec2.assign_private_ip_addresses(NetworkInterfaceId=interface, PrivateIpAddresses=["10.0.1.77"])
    assert [a["PrivateIpAddress"] for a in answer["AssignedPrivateIpAddresses"]] == ["10.0.1.77"]


@pytest.mark.parametrize("address", ["10.0.1.0", "10.0.1.1", "10.0.1.2", "10.0.1.3", "10.0.1.255"])
def test_a_reserved_address_cannot_be_named(ec2, interface, address):
    with refused("InvalidParameterValue", "reserved"):
        ec2.assign_private_ip_addresses(NetworkInterfaceId=interface, PrivateIpAddresses=[address])


def test_an_address_of_another_network_cannot_be_named(ec2, interface):
    with refused("InvalidParameterValue", "does not fall within"):
        ec2.assign_private_ip_addresses(NetworkInterfaceId=interface, PrivateIpAddresses=["10.0.2.9"])


def test_an_address_in_use_cannot_be_named(ec2, make_interface, interface):
    make_interface(PrivateIpAddress="10.0.1.50")
    with refused("InvalidIPAddress.InUse", "10.0.1.50"):
        ec2.assign_private_ip_addresses(NetworkInterfaceId=interface, PrivateIpAddresses=["10.0.1.50"])


def test_an_address_in_use_cannot_be_named_when_an_interface_is_created(make_interface):
    make_interface(PrivateIpAddress="10.0.1.50")
    with refused("InvalidIPAddress.InUse"):
        make_interface(PrivateIpAddress="10.0.1.50")


def test_reassignment_moves_a_secondary_address(ec2, make_interface, interface):
    other = make_interface(PrivateIpAddresses=[{"PrivateIpAddress": "10.0.1.60", "Primary": False}])
    ec2.assign_private_ip_addresses(
        NetworkInterfaceId=interface, PrivateIpAddresses=["10.0.1.60"], AllowReassignment=True
    )
    assert "10.0.1.60" in addresses(shown(ec2, interface))
    assert "10.0.1.60" not in addresses(shown(ec2, other))


def test_a_number_and_names_together_are_refused(ec2, interface):
    with refused("InvalidParameterCombination"):
        ec2.assign_private_ip_addresses(
            NetworkInterfaceId=interface, PrivateIpAddresses=["10.0.1.60"], SecondaryPrivateIpAddressCount=1
        )


def test_assigning_nothing_is_refused(ec2, interface):
    with refused("MissingParameter"):
        ec2.assign_private_ip_addresses(NetworkInterfaceId=interface)


def test_an_address_that_is_not_assigned_cannot_be_unassigned(ec2, interface):
    with refused("InvalidParameterValue", f"are not assigned to interface {interface}"):
        ec2.unassign_private_ip_addresses(NetworkInterfaceId=interface, PrivateIpAddresses=["10.0.1.99"])


def test_unassigning_is_all_or_nothing(ec2, interface):
    new = assign(ec2, interface, 2)
    with refused("InvalidParameterValue"):
        ec2.unassign_private_ip_addresses(NetworkInterfaceId=interface, PrivateIpAddresses=[new[0], "10.0.1.0"])
    assert set(new) <= set(addresses(shown(ec2, interface)))


def test_the_primary_address_cannot_be_unassigned(ec2, interface):
    primary = shown(ec2, interface)["PrivateIpAddress"]
    with refused("InvalidParameterValue", "primary IP address"):
        ec2.unassign_private_ip_addresses(NetworkInterfaceId=interface, PrivateIpAddresses=[primary])
    assert addresses(shown(ec2, interface)) == [primary]


def test_an_unassigned_address_can_be_assigned_to_another_interface(ec2, make_interface, interface):
    new = assign(ec2, interface, 1)
    ec2.unassign_private_ip_addresses(NetworkInterfaceId=interface, PrivateIpAddresses=new)
    other = make_interface()
    ec2.assign_private_ip_addresses(NetworkInterfaceId=other, PrivateIpAddresses=new)
    assert new[0] in addresses(shown(ec2, other))


def test_an_unknown_interface_is_refused(ec2):
    for call in (ec2.assign_private_ip_addresses, ec2.unassign_private_ip_addresses):
        with refused("InvalidNetworkInterfaceID.NotFound", "eni-0123456789abcdef0"):
            call(NetworkInterfaceId="eni-0123456789abcdef0", PrivateIpAddresses=["10.0.1.9"])


def test_an_explicit_reservation_is_left_alone_by_automatic_assignment(ec2, make_subnet, make_interface):
    subnet = make_subnet("10.0.8.0/27")
    ec2.create_subnet_cidr_reservation(SubnetId=subnet, Cidr="10.0.8.16/28", ReservationType="explicit")
    interface = make_interface(SubnetId=subnet, SecondaryPrivateIpAddressCount=11)
    reserved = ipaddress.ip_network("10.0.8.16/28")
    assert not [a for a in addresses(shown(ec2, interface)) if ipaddress.ip_address(a) in reserved]
    with refused("InsufficientFreeAddressesInSubnet"):
        assign(ec2, interface, 1)
    ec2.assign_private_ip_addresses(NetworkInterfaceId=interface, PrivateIpAddresses=["10.0.8.20"])


def test_reservations_of_a_subnet_are_listed(ec2, subnet):
    ec2.create_subnet_cidr_reservation(SubnetId=subnet, Cidr="10.0.1.16/28", ReservationType="prefix")
    listed = ec2.get_subnet_cidr_reservations(SubnetId=subnet)["SubnetIpv4CidrReservations"]
    assert [(r["Cidr"], r["ReservationType"]) for r in listed] == [("10.0.1.16/28", "prefix")]
