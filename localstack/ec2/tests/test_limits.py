"""Limits of instance types."""

from conftest import refused


def attach(ec2, instance, interface, index, **more):
    return ec2.attach_network_interface(
        InstanceId=instance, NetworkInterfaceId=interface, DeviceIndex=index, **more
    )["AttachmentId"]


def attached(ec2, make_interface, instance, **parameters):
    interface = make_interface(**parameters)
    attach(ec2, instance, interface, 1)
    return interface


def test_an_instance_takes_no_more_interfaces_than_its_type(ec2, instance, make_interface):
    attach(ec2, instance, make_interface(), 1)
    attach(ec2, instance, make_interface(), 2)
    with refused("AttachmentLimitExceeded", "Interface count 4 exceeds the limit for m5.large"):
        attach(ec2, instance, make_interface(), 3)


def test_the_primary_address_counts_among_the_ten_of_an_m5_large(ec2, instance, make_interface):
    interface = attached(ec2, make_interface, instance)
    ec2.assign_private_ip_addresses(NetworkInterfaceId=interface, SecondaryPrivateIpAddressCount=9)
    with refused("PrivateIpAddressLimitExceeded", "Number of private addresses will exceed limit"):
        ec2.assign_private_ip_addresses(NetworkInterfaceId=interface, SecondaryPrivateIpAddressCount=1)


def test_a_prefix_counts_as_one_address(ec2, instance, make_interface):
    interface = attached(ec2, make_interface, instance)
    ec2.assign_private_ip_addresses(NetworkInterfaceId=interface, SecondaryPrivateIpAddressCount=4)
    ec2.assign_private_ip_addresses(NetworkInterfaceId=interface, Ipv4PrefixCount=5)
    with refused("PrivateIpAddressLimitExceeded"):
        ec2.assign_private_ip_addresses(NetworkInterfaceId=interface, Ipv4PrefixCount=1)


def test_the_limit_holds_for_a_request_as_a_whole(ec2, instance, make_interface):
    interface = attached(ec2, make_interface, instance)
    with refused("PrivateIpAddressLimitExceeded"):
        ec2.assign_private_ip_addresses(NetworkInterfaceId=interface, SecondaryPrivateIpAddressCount=10)
    answer = ec2.assign_private_ip_addresses(NetworkInterfaceId=interface, SecondaryPrivateIpAddressCount=9)
    assert len(answer["AssignedPrivateIpAddresses"]) == 9


def test_an_interface_with_too_many_addresses_cannot_be_attached(ec2, instance, make_interface):
    interface = make_interface(SecondaryPrivateIpAddressCount=10)
    with refused("PrivateIpAddressLimitExceeded"):
        attach(ec2, instance, interface, 1)


def test_ipv6_addresses_have_a_limit_of_their_own(ec2, instance, make_interface):
    interface = attached(ec2, make_interface, instance)
    ec2.assign_ipv6_addresses(NetworkInterfaceId=interface, Ipv6AddressCount=9)
    ec2.assign_ipv6_addresses(NetworkInterfaceId=interface, Ipv6PrefixCount=1)
    with refused("PrivateIpAddressLimitExceeded"):
        ec2.assign_ipv6_addresses(NetworkInterfaceId=interface, Ipv6AddressCount=1)


def test_an_instance_without_the_nitro_system_takes_no_prefixes(ec2, subnet, make_instance, make_interface):
    xen = make_instance(subnet, "m4.large")["InstanceId"]
    interface = attached(ec2, make_interface, xen)
    with refused("UnsupportedOperation", "m4.large"):
        ec2.assign_private_ip_addresses(NetworkInterfaceId=interface, Ipv4PrefixCount=1)


def test_a_bare_metal_instance_takes_prefixes(ec2, subnet, make_instance, make_interface):
    metal = make_instance(subnet, "m5.metal")["InstanceId"]
    interface = attached(ec2, make_interface, metal)
    answer = ec2.assign_private_ip_addresses(NetworkInterfaceId=interface, Ipv4PrefixCount=1)
    assert len(answer["AssignedIpv4Prefixes"]) == 1


def test_each_network_card_has_its_own_limit_and_device_indexes(ec2, subnet, make_instance, make_interface):
    instance = make_instance(subnet, "p5.48xlarge")["InstanceId"]
    attach(ec2, instance, make_interface(), 1)
    with refused("AttachmentLimitExceeded", "p5.48xlarge"):
        attach(ec2, instance, make_interface(), 2)
    attach(ec2, instance, make_interface(), 1, NetworkCardIndex=1)
    for card in (0, 1):
        with refused("InvalidParameterValue", "device index"):
            attach(ec2, instance, make_interface(), 1, NetworkCardIndex=card)
    found = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]["NetworkInterfaces"]
    places = [(n["Attachment"]["NetworkCardIndex"], n["Attachment"]["DeviceIndex"]) for n in found]
    assert places == [(0, 0), (0, 1), (1, 1)]


def test_a_network_card_that_the_type_lacks_is_refused(ec2, instance, make_interface):
    with refused("InvalidParameterValue", "network card"):
        attach(ec2, instance, make_interface(), 1, NetworkCardIndex=1)


def test_a_region_takes_no_more_interfaces_than_its_quota(server, make_interface, interface):
    server.knobs(interfaces_per_region=1)
    with refused("NetworkInterfaceLimitExceeded"):
        make_interface()


def test_an_instance_keeps_its_limits_when_an_interface_moves(ec2, instance, make_interface):
    first = make_interface()
    attachment = attach(ec2, instance, first, 1)
    attach(ec2, instance, make_interface(), 2)
    ec2.detach_network_interface(AttachmentId=attachment)
    attach(ec2, instance, make_interface(), 1)
    with refused("AttachmentLimitExceeded"):
        attach(ec2, instance, first, 3)
