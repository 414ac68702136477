"""CreateNetworkInterface: what it makes, and that a client token makes it once."""

import re

from conftest import addresses, free_count, refused, shown


def test_macs_are_well_formed_local_and_distinct(ec2, make_interface):
    macs = [shown(ec2, make_interface())["MacAddress"] for _ in range(20)]
    assert len(set(macs)) == 20
    for mac in macs:
        assert re.fullmatch(r"([0-9a-f]{2}:){5}[0-9a-f]{2}", mac), mac
        assert int(mac[:2], 16) & 0b11 == 0b10, f"{mac} is not a local unicast address"


def test_description_tags_groups_and_primary_address_are_as_asked(ec2, vpc, make_interface):
    group = ec2.create_security_group(GroupName="one", Description="one", VpcId=vpc["VpcId"])["GroupId"]
    interface = make_interface(
        Description="aws-K8S-i-1",
        Groups=[group],
        PrivateIpAddress="10.0.1.9",
        TagSpecifications=[{"ResourceType": "network-interface", "Tags": [{"Key": "k", "Value": "v"}]}],
    )
    record = shown(ec2, interface)
    assert record["Description"] == "aws-K8S-i-1"
    assert [g["GroupId"] for g in record["Groups"]] == [group]
    assert record["PrivateIpAddress"] == "10.0.1.9" and addresses(record) == ["10.0.1.9"]
    assert record["TagSet"] == [{"Key": "k", "Value": "v"}]


def test_an_interface_without_groups_gets_the_default_group(ec2, interface):
    assert [g["GroupName"] for g in shown(ec2, interface)["Groups"]] == ["default"]


def test_an_unknown_group_or_subnet_is_refused(make_interface):
    with refused("InvalidGroup.NotFound", "sg-0123456789abcdef0"):
        make_interface(Groups=["sg-0123456789abcdef0"])
    with refused("InvalidSubnetID.NotFound"):
        make_interface(SubnetId="subnet-0123456789abcdef0")


def test_the_answer_shows_what_was_created(ec2, subnet):
    made = ec2.create_network_interface(SubnetId=subnet, SecondaryPrivateIpAddressCount=3)["NetworkInterface"]
    assert len(addresses(made)) == 4
    assert [a["Primary"] for a in made["PrivateIpAddresses"]] == [True, False, False, False]
    assert made == shown(ec2, made["NetworkInterfaceId"])


def test_a_repeated_request_with_the_same_token_makes_nothing_new(ec2, subnet):
    request = {"SubnetId": subnet, "SecondaryPrivateIpAddressCount": 2, "ClientToken": f"token-{subnet}"}
    first = ec2.create_network_interface(**request)["NetworkInterface"]
    before = free_count(ec2, subnet)
    second = ec2.create_network_interface(**request)["NetworkInterface"]
    assert second["NetworkInterfaceId"] == first["NetworkInterfaceId"]
    assert addresses(second) == addresses(first)
    assert free_count(ec2, subnet) == before


def test_another_request_with_the_same_token_is_refused(ec2, subnet):
    token = f"token-{subnet}"
    ec2.create_network_interface(SubnetId=subnet, ClientToken=token)
    with refused("IdempotentParameterMismatch"):
        ec2.create_network_interface(SubnetId=subnet, ClientToken=token, SecondaryPrivateIpAddressCount=1)


def test_another_token_makes_another_interface(ec2, subnet):
    made = [
        ec2.create_network_interface(SubnetId=subnet, ClientToken=f"{subnet}-{n}")["NetworkInterface"]
        for n in range(2)
    ]
    assert made[0]["NetworkInterfaceId"] != made[1]["NetworkInterfaceId"]


def test_a_token_of_a_failed_request_can_be_used_again(ec2, server, subnet):
    server.fill(subnet, leave=0)
    request = {"SubnetId": subnet, "ClientToken": f"token-{subnet}"}
    with refused("InsufficientFreeAddressesInSubnet"):
        ec2.create_network_interface(**request)
    server.fill(subnet, clear=True)
    assert ec2.create_network_interface(**request)["NetworkInterface"]["NetworkInterfaceId"]


def test_a_dry_run_changes_nothing(ec2, subnet):
    before = free_count(ec2, subnet)
    with refused("DryRunOperation"):
        ec2.create_network_interface(SubnetId=subnet, DryRun=True)
    assert free_count(ec2, subnet) == before
