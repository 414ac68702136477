"""Attaching, detaching, deleting: the state machine of an interface."""

import pytest
from conftest import refused, shown


@pytest.fixture
def attach(ec2, instance):
    def attach(interface, index=1):
        answer = ec2.attach_network_interface(InstanceId=instance, NetworkInterfaceId=interface, DeviceIndex=index)
        return answer["AttachmentId"]

    return attach


def status(ec2, interface):
    record = shown(ec2, interface)
    return record["Status"], record.get("Attachment", {}).get("Status")


def test_an_attached_interface_is_in_use_and_named_by_its_instance(ec2, instance, interface, attach):
    assert status(ec2, interface) == ("available", None)
    attachment = attach(interface, 1)
    record = shown(ec2, interface)
    assert record["Status"] == "in-use"
    assert record["Attachment"]["AttachmentId"] == attachment
    assert record["Attachment"]["InstanceId"] == instance
    assert record["Attachment"]["DeviceIndex"] == 1
    assert record["Attachment"]["NetworkCardIndex"] == 0
    assert record["Attachment"]["DeleteOnTermination"] is False


def test_a_taken_device_index_is_refused(instance, make_interface, attach):
    attach(make_interface(), 1)
    text = f"Instance '{instance}' already has an interface attached at device index '1'."
    with refused("InvalidParameterValue", text):
        attach(make_interface(), 1)
    with refused("InvalidParameterValue"):
        attach(make_interface(), 0)


def test_an_attached_interface_cannot_be_attached_again(interface, attach):
    attach(interface, 1)
    with refused("InvalidNetworkInterface.InUse", f"[{interface}]"):
        attach(interface, 2)


def test_an_interface_of_another_zone_is_refused(make_subnet, make_interface, attach):
    interface = make_interface(SubnetId=make_subnet("10.0.2.0/24", zone="us-east-1b"))
    with refused("InvalidParameterCombination", "same availability zone"):
        attach(interface)


def test_unknown_instances_and_interfaces_are_refused(ec2, instance, interface):
    with refused("InvalidInstanceID.NotFound"):
        ec2.attach_network_interface(
            InstanceId="i-0123456789abcdef0", NetworkInterfaceId=interface, DeviceIndex=1
        )
    with refused("InvalidNetworkInterfaceID.NotFound"):
        ec2.attach_network_interface(
            InstanceId=instance, NetworkInterfaceId="eni-0123456789abcdef0", DeviceIndex=1
        )


def test_attaching_takes_its_time(ec2, server, interface, attach):
    server.knobs(attach_seconds=100)
    attach(interface)
    assert status(ec2, interface) == ("in-use", "attaching")
    server.advance(99)
    assert status(ec2, interface) == ("in-use", "attaching")
    server.advance(2)
    assert status(ec2, interface) == ("in-use", "attached")


def test_detaching_takes_its_time_and_keeps_the_device_index(ec2, server, make_interface, interface, attach):
    attachment = attach(interface)
    server.knobs(detach_seconds=100)
    ec2.detach_network_interface(AttachmentId=attachment)
    assert status(ec2, interface) == ("in-use", "detaching")
    with refused("InvalidParameterValue", "device index"):
        attach(make_interface())
    server.advance(101)
    assert status(ec2, interface) == ("available", None)
    attach(make_interface())


def test_a_detaching_interface_cannot_be_deleted_yet(ec2, server, interface, attach):
    attachment = attach(interface)
    server.knobs(detach_seconds=100)
    ec2.detach_network_interface(AttachmentId=attachment)
    with refused("InvalidParameterValue", f"Network interface '{interface}' is currently in use."):
        ec2.delete_network_interface(NetworkInterfaceId=interface)
    server.advance(101)
    ec2.delete_network_interface(NetworkInterfaceId=interface)


def test_detaching_twice_is_refused(ec2, server, interface, attach):
    attachment = attach(interface)
    server.knobs(detach_seconds=100)
    ec2.detach_network_interface(AttachmentId=attachment)
    with refused("IncorrectState"):
        ec2.detach_network_interface(AttachmentId=attachment)


def test_an_attachment_is_unknown_after_it_has_ended(ec2, interface, attach):
    attachment = attach(interface)
    ec2.detach_network_interface(AttachmentId=attachment)
    with refused("InvalidAttachmentID.NotFound"):
        ec2.detach_network_interface(AttachmentId=attachment)


def test_the_primary_interface_cannot_be_detached(ec2, subnet, make_instance, interface, attach):
    primary = make_instance(subnet)["NetworkInterfaces"][0]["Attachment"]["AttachmentId"]
    attach(interface)
    with refused("OperationNotPermitted", "device index 0"):
        ec2.detach_network_interface(AttachmentId=primary)


def test_the_primary_interface_cannot_be_detached_beside_others(ec2, instance, interface, attach):
    attach(interface)
    found = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]["NetworkInterfaces"]
    primary = next(n for n in found if n["Attachment"]["DeviceIndex"] == 0)
    with refused("OperationNotPermitted"):
        ec2.detach_network_interface(AttachmentId=primary["Attachment"]["AttachmentId"])


def test_an_attached_interface_cannot_be_deleted(ec2, interface, attach):
    attach(interface)
    with refused("InvalidParameterValue", "is currently in use"):
        ec2.delete_network_interface(NetworkInterfaceId=interface)
    assert status(ec2, interface)[0] == "in-use"


def test_a_deleted_interface_is_gone_with_its_addresses(ec2, interface, make_interface):
    address = shown(ec2, interface)["PrivateIpAddress"]
    ec2.delete_network_interface(NetworkInterfaceId=interface)
    with refused("InvalidNetworkInterfaceID.NotFound", interface):
        shown(ec2, interface)
    with refused("InvalidNetworkInterfaceID.NotFound"):
        ec2.delete_network_interface(NetworkInterfaceId=interface)
    make_interface(PrivateIpAddress=address)


def test_delete_on_termination_is_changed_through_the_attachment(ec2, instance, interface, attach):
    attachment = attach(interface)
    change = {"AttachmentId": attachment, "DeleteOnTermination": True}
    ec2.modify_network_interface_attribute(NetworkInterfaceId=interface, Attachment=change)
    assert shown(ec2, interface)["Attachment"]["DeleteOnTermination"] is True
    found = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]["NetworkInterfaces"]
    assert found[1]["Attachment"]["DeleteOnTermination"] is True


def test_another_attachment_cannot_be_changed(ec2, interface, attach):
    attach(interface)
    change = {"AttachmentId": "eni-attach-0123456789abcdef0", "DeleteOnTermination": True}
    with refused("InvalidAttachmentID.NotFound"):
        ec2.modify_network_interface_attribute(NetworkInterfaceId=interface, Attachment=change)


def test_groups_are_replaced_by_groups_that_exist_in_the_same_network(ec2, vpc, interface):
    group = ec2.create_security_group(GroupName="one", Description="one", VpcId=vpc["VpcId"])["GroupId"]
    ec2.modify_network_interface_attribute(NetworkInterfaceId=interface, Groups=[group])
    assert [g["GroupId"] for g in shown(ec2, interface)["Groups"]] == [group]
    with refused("InvalidGroup.NotFound"):
        ec2.modify_network_interface_attribute(NetworkInterfaceId=interface, Groups=["sg-0123456789abcdef0"])
    foreign = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    other = ec2.create_security_group(GroupName="two", Description="two", VpcId=foreign)["GroupId"]
    with refused("InvalidParameter"):
        ec2.modify_network_interface_attribute(NetworkInterfaceId=interface, Groups=[other])
    assert [g["GroupId"] for g in shown(ec2, interface)["Groups"]] == [group]


def test_one_attribute_is_changed_at_a_time(ec2, interface):
    with refused("InvalidParameterCombination"):
        ec2.modify_network_interface_attribute(
            NetworkInterfaceId=interface, Description={"Value": "x"}, SourceDestCheck={"Value": False}
        )
    ec2.modify_network_interface_attribute(NetworkInterfaceId=interface, SourceDestCheck={"Value": False})
    assert shown(ec2, interface)["SourceDestCheck"] is False
