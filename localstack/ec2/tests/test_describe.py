"""Describe: filters and paging."""

import pytest
from conftest import refused


@pytest.fixture
def find(ec2, subnet):
    """Ids of the test's interfaces that pass filters given as name, values."""

    def find(*filters):
        chosen = [{"Name": "subnet-id", "Values": [subnet]}]
        chosen += [{"Name": name, "Values": list(values)} for name, *values in filters]
        found = ec2.describe_network_interfaces(Filters=chosen)["NetworkInterfaces"]
        return {n["NetworkInterfaceId"] for n in found}

    return find


@pytest.fixture
def pair(ec2, instance, make_interface):
    """One attached and one free interface, and the attachment of the first."""
    attached, free = make_interface(), make_interface()
    answer = ec2.attach_network_interface(InstanceId=instance, NetworkInterfaceId=attached, DeviceIndex=1)
    return attached, free, answer["AttachmentId"]


def test_interfaces_are_found_by_attachment_id(find, pair):
    attached, _, attachment = pair
    assert find(("attachment.attachment-id", attachment)) == {attached}


def test_interfaces_are_found_by_instance(find, pair, instance):
    attached, free, _ = pair
    found = find(("attachment.instance-id", instance))
    assert attached in found and free not in found and len(found) == 2


def test_interfaces_are_found_by_attachment_status(ec2, server, find, pair, make_interface, instance):
    attached, _, _ = pair
    server.knobs(attach_seconds=100)
    attaching = make_interface()
    ec2.attach_network_interface(InstanceId=instance, NetworkInterfaceId=attaching, DeviceIndex=2)
    assert find(("attachment.status", "attaching")) == {attaching}
    assert attached in find(("attachment.status", "attached"))
    assert find(("attachment.status", "attaching", "attached")) >= {attached, attaching}


def test_interfaces_are_found_by_status(find, pair):
    attached, free, _ = pair
    assert find(("status", "available")) == {free}
    assert attached in find(("status", "in-use"))


def test_interfaces_are_found_by_tag_and_by_tag_key(find, make_interface):
    tags = [{"Key": "node.k8s.amazonaws.com/instance_id", "Value": "i-1"}]
    tagged = make_interface(TagSpecifications=[{"ResourceType": "network-interface", "Tags": tags}])
    make_interface()
    assert find(("tag:node.k8s.amazonaws.com/instance_id", "i-1")) == {tagged}
    assert find(("tag:node.k8s.amazonaws.com/instance_id", "i-2")) == set()
    assert find(("tag-key", "node.k8s.amazonaws.com/instance_id")) == {tagged}


def test_all_filters_must_match(find, pair, instance):
    attached, _, _ = pair
    assert find(("attachment.instance-id", instance), ("attachment.device-index", "1")) == {attached}
    assert find(("attachment.instance-id", instance), ("status", "available")) == set()


def test_filters_take_wildcards(find, make_interface):
    one, two = make_interface(Description="aws-K8S-i-1"), make_interface(Description="aws-K8S-i-2")
    make_interface(Description="other")
    assert find(("description", "aws-K8S-*")) == {one, two}
    assert find(("description", "aws-K8S-i-?")) == {one, two}


def test_interfaces_are_found_by_secondary_address_and_by_mac(ec2, find, make_interface):
    interface = make_interface(PrivateIpAddresses=[{"PrivateIpAddress": "10.0.1.60", "Primary": False}])
    mac = ec2.describe_network_interfaces(NetworkInterfaceIds=[interface])["NetworkInterfaces"][0]["MacAddress"]
    assert find(("addresses.private-ip-address", "10.0.1.60")) == {interface}
    assert find(("mac-address", mac)) == {interface}


def test_an_unknown_filter_is_refused(find):
    with refused("InvalidParameterValue", "'colour'"):
        find(("colour", "blue"))


def test_interfaces_come_in_pages(ec2, subnet, make_interface):
    made = {make_interface() for _ in range(12)}
    chosen = [{"Name": "subnet-id", "Values": [subnet]}]
    pages = list(ec2.get_paginator("describe_network_interfaces").paginate(
        Filters=chosen, PaginationConfig={"PageSize": 5}
    ))
    assert [len(page["NetworkInterfaces"]) for page in pages] == [5, 5, 2]
    assert {n["NetworkInterfaceId"] for page in pages for n in page["NetworkInterfaces"]} == made


def test_a_page_is_not_upset_by_interfaces_that_come_and_go(ec2, subnet, make_interface):
    made = sorted(make_interface() for _ in range(12))
    chosen = [{"Name": "subnet-id", "Values": [subnet]}]
    first = ec2.describe_network_interfaces(Filters=chosen, MaxResults=5)
    ids = [n["NetworkInterfaceId"] for n in first["NetworkInterfaces"]]
    ec2.delete_network_interface(NetworkInterfaceId=ids[0])
    second = ec2.describe_network_interfaces(Filters=chosen, MaxResults=100, NextToken=first["NextToken"])
    ids += [n["NetworkInterfaceId"] for n in second["NetworkInterfaces"]]
    assert sorted(ids) == made


def test_page_sizes_and_tokens_are_checked(ec2, interface):
    with refused("InvalidParameterValue", "maxResults"):
        ec2.describe_network_interfaces(MaxResults=4)
    with refused("InvalidParameterValue", "token"):
        ec2.describe_network_interfaces(MaxResults=5, NextToken="nonsense")
    with refused("InvalidParameterCombination"):
        ec2.describe_network_interfaces(NetworkInterfaceIds=[interface], MaxResults=5)


def test_one_unknown_id_refuses_the_whole_request(ec2, interface):
    with refused("InvalidNetworkInterfaceID.NotFound", "eni-0123456789abcdef0"):
        ec2.describe_network_interfaces(NetworkInterfaceIds=[interface, "eni-0123456789abcdef0"])


def test_subnets_are_found_by_network_zone_and_tag(ec2, vpc, make_subnet):
    one, two = make_subnet("10.0.1.0/24"), make_subnet("10.0.2.0/24", zone="us-east-1b")
    ec2.create_tags(Resources=[one], Tags=[{"Key": "kubernetes.io/role/cni", "Value": "1"}])

    def find(*more):
        chosen = [{"Name": "vpc-id", "Values": [vpc["VpcId"]]}, *more]
        return {s["SubnetId"] for s in ec2.describe_subnets(Filters=chosen)["Subnets"]}

    assert find() == {one, two}
    assert find({"Name": "availability-zone", "Values": ["us-east-1b"]}) == {two}
    assert find({"Name": "tag:kubernetes.io/role/cni", "Values": ["*"]}) == {one}


def test_subnets_come_in_pages(ec2, vpc, make_subnet):
    made = {make_subnet(f"10.0.{n}.0/24") for n in range(7)}
    chosen = [{"Name": "vpc-id", "Values": [vpc["VpcId"]]}]
    first = ec2.describe_subnets(Filters=chosen, MaxResults=5)
    second = ec2.describe_subnets(Filters=chosen, MaxResults=5, NextToken=first["NextToken"])
    assert {s["SubnetId"] for s in first["Subnets"] + second["Subnets"]} == made
    assert "NextToken" not in second


def test_instance_types_tell_their_limits(ec2):
    found = ec2.describe_instance_types(InstanceTypes=["m5.large"])["InstanceTypes"][0]
    assert found["NetworkInfo"]["MaximumNetworkInterfaces"] == 3
    assert found["NetworkInfo"]["Ipv4AddressesPerInterface"] == 10
    assert found["Hypervisor"] == "nitro" and found["VCpuInfo"]["DefaultVCpus"] == 2


def test_an_unknown_instance_type_is_refused(ec2):
    with refused("InvalidInstanceType", "m5.gigantic"):
        ec2.describe_instance_types(InstanceTypes=["m5.large", "m5.gigantic"])


def test_instance_types_come_in_pages_of_a_hundred(ec2):
    pages = [page["InstanceTypes"] for page in ec2.get_paginator("describe_instance_types").paginate()]
    names = [t["InstanceType"] for page in pages for t in page]
    assert len(pages) > 1 and max(len(page) for page in pages) == 100
    assert len(names) == len(set(names)) > 1000


def test_many_interfaces_are_not_described_in_one_answer(ec2, server, subnet, make_interface, instance):
    made = make_interface()
    vpc = ec2.describe_subnets(SubnetIds=[subnet])["Subnets"][0]["VpcId"]

    def named(name, value):
        return {"Filters": [{"Name": name, "Values": [value]}]}

    slow = [{}, named("attachment.instance-id", instance), named("network-interface-id", made)]
    for request in slow:
        ec2.describe_network_interfaces(**request)
    server.knobs(interfaces_without_paging=0)
    for request in slow:
        with refused("OperationNotPermitted"):
            ec2.describe_network_interfaces(**request)
        ec2.describe_network_interfaces(**request, MaxResults=5)
    for request in (named("subnet-id", subnet), named("vpc-id", vpc), {"NetworkInterfaceIds": [made]}):
        shown = ec2.describe_network_interfaces(**request)["NetworkInterfaces"]
        assert made in {one["NetworkInterfaceId"] for one in shown}


def test_the_pages_after_the_first_are_pages_too(ec2, server, make_interface):
    for _ in range(6):
        make_interface()
    server.knobs(interfaces_without_paging=0)
    first = ec2.describe_network_interfaces(MaxResults=5)
    assert len(first["NetworkInterfaces"]) == 5
    assert ec2.describe_network_interfaces(NextToken=first["NextToken"])["NetworkInterfaces"]
