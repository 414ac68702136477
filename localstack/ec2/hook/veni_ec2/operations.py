"""Which operations the hook answers itself."""

from collections.abc import Callable

from . import assign, attach, create, describe, instances, tags
from .call import Call
from .history import Record

OPERATIONS: dict[str, Callable[[Call], Record]] = {
    "AssignIpv6Addresses": assign.assign_ipv6_addresses,
    "AssignPrivateIpAddresses": assign.assign_private_ip_addresses,
    "AttachNetworkInterface": attach.attach_network_interface,
    "CreateNetworkInterface": create.create_network_interface,
    "CreateTags": tags.create_tags,
    "DeleteNetworkInterface": create.delete_network_interface,
    "DeleteTags": tags.delete_tags,
    "DescribeInstances": instances.describe_instances,
    "DescribeInstanceTypes": describe.describe_instance_types,
    "DescribeNetworkInterfaces": describe.describe_network_interfaces,
    "DescribeSubnets": describe.describe_subnets,
    "DetachNetworkInterface": attach.detach_network_interface,
    "ModifyNetworkInterfaceAttribute": attach.modify_network_interface_attribute,
    "RunInstances": instances.run_instances,
    "TerminateInstances": instances.terminate_instances,
    "UnassignIpv6Addresses": assign.unassign_ipv6_addresses,
    "UnassignPrivateIpAddresses": assign.unassign_private_ip_addresses,
}
