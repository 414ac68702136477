"""Instances and the interfaces that live and die with them."""

import pytest
from conftest import addresses, free_count, refused, shown


def described(ec2, instance):
    return ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]


def test_a_new_instance_has_a_primary_interface_that_goes_with_it(ec2, subnet, make_instance):
    instance = make_instance(subnet)
    primary = instance["NetworkInterfaces"][0]
    assert primary["Attachment"]["DeviceIndex"] == 0
    assert primary["Attachment"]["Status"] == "attached"
    assert primary["Attachment"]["DeleteOnTermination"] is True
    assert primary["PrivateIpAddress"] == instance["PrivateIpAddress"]
    assert addresses(shown(ec2, primary["NetworkInterfaceId"])) == [instance["PrivateIpAddress"]]


def test_instances_and_interfaces_draw_on_one_pool_of_addresses(ec2, make_subnet, make_instance, make_interface):
    subnet = make_subnet("10.0.8.0/28")
    make_interface(SubnetId=subnet, SecondaryPrivateIpAddressCount=4)
    found = [make_instance(subnet)["PrivateIpAddress"] for _ in range(6)]
    assert len(set(found)) == 6
    assert free_count(ec2, subnet) == 0
    with refused("InsufficientFreeAddressesInSubnet"):
        make_instance(subnet)


def test_no_instance_is_run_unless_all_can_be(ec2, server, make_subnet):
    subnet = make_subnet("10.0.8.0/28")
    server.fill(subnet, leave=2)
    with refused("InsufficientFreeAddressesInSubnet"):
        ec2.run_instances(
            ImageId="ami-12345678", InstanceType="m5.large", MinCount=3, MaxCount=3, SubnetId=subnet
        )
    assert free_count(ec2, subnet) == 2
    found = ec2.describe_instances(Filters=[{"Name": "subnet-id", "Values": [subnet]}])
    assert found["Reservations"] == []


def test_an_address_in_use_cannot_be_named_for_an_instance(ec2, subnet, make_interface):
    make_interface(PrivateIpAddress="10.0.1.44")
    with refused("InvalidIPAddress.InUse"):
        ec2.run_instances(
            ImageId="ami-12345678", InstanceType="m5.large", MinCount=1, MaxCount=1, SubnetId=subnet,
            PrivateIpAddress="10.0.1.44",
        )


def test_an_instance_can_be_run_with_secondary_addresses_or_prefixes(ec2, subnet):
    for asked, field, count in (
        ({"SecondaryPrivateIpAddressCount": 3}, "PrivateIpAddresses", 4),
        ({"Ipv4PrefixCount": 2}, "Ipv4Prefixes", 2),
    ):
        answer = ec2.run_instances(
            ImageId="ami-12345678", InstanceType="m5.large", MinCount=1, MaxCount=1,
            NetworkInterfaces=[{"DeviceIndex": 0, "SubnetId": subnet, **asked}],
        )
        assert len(answer["Instances"][0]["NetworkInterfaces"][0][field]) == count


def test_an_instance_of_a_type_that_ec2_does_not_have_is_not_run(ec2, subnet):
    with refused("InvalidParameterValue", "m5.enormous"):
        ec2.run_instances(
            ImageId="ami-12345678", InstanceType="m5.enormous", MinCount=1, MaxCount=1, SubnetId=subnet
        )


def test_an_instance_can_be_run_with_interfaces_on_several_network_cards(ec2, subnet):
    def run(*places):
        specifications = [{"NetworkCardIndex": c, "DeviceIndex": d, "SubnetId": subnet} for c, d in places]
        answer = ec2.run_instances(
            ImageId="ami-12345678", InstanceType="p5.48xlarge", MinCount=1, MaxCount=1,
            NetworkInterfaces=specifications,
        )
        found = described(ec2, answer["Instances"][0]["InstanceId"])["NetworkInterfaces"]
        return [(n["Attachment"]["NetworkCardIndex"], n["Attachment"]["DeviceIndex"]) for n in found]

    assert run((0, 0), (1, 1), (2, 1), (31, 1)) == [(0, 0), (1, 1), (2, 1), (31, 1)]
    with refused("InvalidParameterValue", "network card"):
        run((0, 0), (32, 1))
    with refused("AttachmentLimitExceeded"):
        run((0, 0), (0, 1), (0, 2))


def test_an_instance_shows_its_interfaces_in_device_order_with_everything_they_have(
    ec2, instance, make_interface
):
    later, sooner = make_interface(Ipv4PrefixCount=1), make_interface(SecondaryPrivateIpAddressCount=2)
    ec2.attach_network_interface(InstanceId=instance, NetworkInterfaceId=later, DeviceIndex=2)
    ec2.attach_network_interface(InstanceId=instance, NetworkInterfaceId=sooner, DeviceIndex=1)
    found = described(ec2, instance)["NetworkInterfaces"]
    assert [n["NetworkInterfaceId"] for n in found[1:]] == [sooner, later]
    assert len(found[1]["PrivateIpAddresses"]) == 3
    assert len(found[2]["Ipv4Prefixes"]) == 1


@pytest.mark.parametrize("marked", [True, False])
def test_termination_honours_delete_on_termination(ec2, subnet, instance, interface, marked):
    before = free_count(ec2, subnet)
    answer = ec2.attach_network_interface(InstanceId=instance, NetworkInterfaceId=interface, DeviceIndex=1)
    change = {"AttachmentId": answer["AttachmentId"], "DeleteOnTermination": marked}
    ec2.modify_network_interface_attribute(NetworkInterfaceId=interface, Attachment=change)
    ec2.terminate_instances(InstanceIds=[instance])
    if marked:
        with refused("InvalidNetworkInterfaceID.NotFound"):
            shown(ec2, interface)
    else:
        assert shown(ec2, interface)["Status"] == "available"
        assert "Attachment" not in shown(ec2, interface)
    assert free_count(ec2, subnet) == before + (2 if marked else 1)


def test_a_terminated_instance_has_no_interface_and_takes_none(ec2, instance, interface):
    ec2.terminate_instances(InstanceIds=[instance])
    found = described(ec2, instance)
    assert found["State"]["Name"] == "terminated"
    assert found["NetworkInterfaces"] == [] and "PrivateIpAddress" not in found
    with refused("IncorrectInstanceState"):
        ec2.attach_network_interface(InstanceId=instance, NetworkInterfaceId=interface, DeviceIndex=1)


def test_tags_of_an_interface_come_and_go(ec2, interface):
    ec2.create_tags(Resources=[interface], Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
    ec2.delete_tags(Resources=[interface], Tags=[{"Key": "a"}])
    assert shown(ec2, interface)["TagSet"] == [{"Key": "b", "Value": "2"}]


def test_an_unknown_interface_cannot_be_tagged(ec2):
    with refused("InvalidNetworkInterfaceID.NotFound"):
        ec2.create_tags(Resources=["eni-0123456789abcdef0"], Tags=[{"Key": "a", "Value": "1"}])


def test_the_first_ipv6_address_of_the_primary_interface_is_the_instance_s(ec2, subnet):
    def own(instance):
        found = ec2.describe_instances(InstanceIds=[instance["InstanceId"]])["Reservations"][0]["Instances"][0]
        first = [a["Ipv6Address"] for a in found["NetworkInterfaces"][0]["Ipv6Addresses"][:1]]
        return found.get("Ipv6Address"), first

    run = {"ImageId": "ami-12345678", "InstanceType": "m5.large", "MinCount": 1, "MaxCount": 1}
    specification = {"DeviceIndex": 0, "SubnetId": subnet}
    without = ec2.run_instances(**run, NetworkInterfaces=[specification])["Instances"][0]
    assert own(without) == (None, [])
    some = ec2.run_instances(**run, NetworkInterfaces=[specification | {"Ipv6AddressCount": 2}])["Instances"][0]
    shown, first = own(some)
    assert [shown] == first
