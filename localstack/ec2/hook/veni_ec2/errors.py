"""EC2's client errors, with the codes and texts that EC2 sends.

Codes follow "Error codes for the Amazon EC2 API". A constructor whose text or
code could not be confirmed from EC2's documents or from reports that quote
EC2's answer says so.
"""

from localstack.aws.api import CommonServiceException


def ec2_error(code: str, message: str, status: int = 400) -> CommonServiceException:
    """An error answer of EC2; LocalStack serialises it."""
    return CommonServiceException(code, message, status_code=status, sender_fault=status < 500)


def invalid_value(message: str) -> CommonServiceException:
    """InvalidParameterValue with EC2's own text."""
    return ec2_error("InvalidParameterValue", message)


def invalid_combination(message: str) -> CommonServiceException:
    """InvalidParameterCombination: two parameters that exclude each other."""
    return ec2_error("InvalidParameterCombination", message)


def missing_parameter(name: str) -> CommonServiceException:
    """MissingParameter."""
    return ec2_error("MissingParameter", f"The request must contain the parameter {name}")


def interface_not_found(interface_id: str) -> CommonServiceException:
    """InvalidNetworkInterfaceID.NotFound."""
    return ec2_error("InvalidNetworkInterfaceID.NotFound", f"The networkInterface ID '{interface_id}' does not exist")


def interface_in_use(interface_id: str) -> CommonServiceException:
    """What AttachNetworkInterface and RunInstances answer for a taken interface."""
    return ec2_error("InvalidNetworkInterface.InUse", f"Interface: [{interface_id}] in use.")


def interface_currently_in_use(interface_id: str) -> CommonServiceException:
    """What DeleteNetworkInterface answers while the interface is attached.

    The error page says "If a network interface is in use, you may also receive
    the InvalidParameterValue error"; every report quotes this one for Delete.
    """
    return invalid_value(f"Network interface '{interface_id}' is currently in use.")


def attachment_not_found(attachment_id: str) -> CommonServiceException:
    """InvalidAttachmentID.NotFound."""
    return ec2_error("InvalidAttachmentID.NotFound", f"An attachment with ID '{attachment_id}' does not exist")


def instance_not_found(instance_id: str) -> CommonServiceException:
    """InvalidInstanceID.NotFound."""
    return ec2_error("InvalidInstanceID.NotFound", f"The instance ID '{instance_id}' does not exist")


def subnet_not_found(subnet_id: str) -> CommonServiceException:
    """InvalidSubnetID.NotFound."""
    return ec2_error("InvalidSubnetID.NotFound", f"The subnet ID '{subnet_id}' does not exist")


def group_not_found(group_id: str) -> CommonServiceException:
    """InvalidGroup.NotFound."""
    return ec2_error("InvalidGroup.NotFound", f"The security group '{group_id}' does not exist")


def group_of_other_network() -> CommonServiceException:
    """A security group of another VPC."""
    return ec2_error("InvalidParameter", "You have specified two resources that belong to different networks.")


def device_index_taken(instance_id: str, device_index: int) -> CommonServiceException:
    """A second interface at one device index."""
    return invalid_value(
        f"Instance '{instance_id}' already has an interface attached at device index '{device_index}'."
    )


def attachment_limit(count: int, instance_type: str) -> CommonServiceException:
    """AttachmentLimitExceeded; ``count`` includes the interface asked for."""
    return ec2_error("AttachmentLimitExceeded", f"Interface count {count} exceeds the limit for {instance_type}")


def private_address_limit() -> CommonServiceException:
    """PrivateIpAddressLimitExceeded, IPv4: a prefix counts as one address."""
    return ec2_error("PrivateIpAddressLimitExceeded", "Number of private addresses will exceed limit.")


def ipv6_address_limit() -> CommonServiceException:
    """The IPv6 limit. EC2's documents name no code of its own for it: not confirmed."""
    return ec2_error("PrivateIpAddressLimitExceeded", "Number of IPv6 addresses will exceed limit.")


def subnet_out_of_addresses() -> CommonServiceException:
    """InsufficientFreeAddressesInSubnet."""
    return ec2_error(
        "InsufficientFreeAddressesInSubnet",
        "The specified subnet does not have enough free addresses to satisfy the request.",
    )


def subnet_out_of_blocks() -> CommonServiceException:
    """InsufficientCidrBlocks: addresses are free, but no whole block is (fragmentation)."""
    return ec2_error(
        "InsufficientCidrBlocks",
        "The specified subnet does not have enough free cidr blocks to satisfy the request.",
    )


def subnet_at_capacity() -> CommonServiceException:
    """What EC2 answers when a request for prefixes exceeds the free addresses themselves."""
    return invalid_value("There aren't sufficient free Ipv4 addresses or prefixes")


def address_in_use(address: str) -> CommonServiceException:
    """InvalidIPAddress.InUse."""
    return ec2_error("InvalidIPAddress.InUse", f"Address {address} is in use.")


def address_reserved(address: str) -> CommonServiceException:
    """One of the five addresses EC2 keeps in every subnet."""
    return invalid_value(f"Address {address} is in subnet's reserved address range")


def address_outside(address: str) -> CommonServiceException:
    """An address that is not the subnet's."""
    return invalid_value(f"Address {address} does not fall within the subnet's address range")


def not_assigned(interface_id: str) -> CommonServiceException:
    """Unassigning what the interface does not have."""
    return invalid_value(f"Some of the specified addresses are not assigned to interface {interface_id}")


def primary_address(address: str) -> CommonServiceException:
    """Unassigning the primary address."""
    return invalid_value(
        f"Value ({address}) for parameter privateIpAddress is invalid. "
        "The primary IP address of an interface cannot be unassigned."
    )


def token_mismatch() -> CommonServiceException:
    """IdempotentParameterMismatch: one client token, two different requests."""
    return ec2_error(
        "IdempotentParameterMismatch",
        "The request uses the same client token as a previous, but non-identical request.",
    )


def primary_interface(device_index: int, card: int) -> CommonServiceException:
    """OperationNotPermitted: the primary interface cannot be detached."""
    return ec2_error(
        "OperationNotPermitted",
        f"The network interface at device index {device_index} and networkCard index {card} cannot be detached.",
    )


def incorrect_state(message: str) -> CommonServiceException:
    """IncorrectState."""
    return ec2_error("IncorrectState", message)


def incorrect_instance_state(instance_id: str) -> CommonServiceException:
    """IncorrectInstanceState: the instance is going or gone."""
    return ec2_error(
        "IncorrectInstanceState", f"The instance '{instance_id}' is not in a state from which it can be attached to."
    )


def throttled(code: str = "RequestLimitExceeded") -> CommonServiceException:
    """RequestLimitExceeded, status 503."""
    return ec2_error(code, "Request limit exceeded.", 503)


def not_paged() -> CommonServiceException:
    """DescribeNetworkInterfaces without pages or a fast filter where there are very many interfaces.

    The API reference says that "the operation fails", and neither code nor text: not confirmed.
    """
    return ec2_error(
        "OperationNotPermitted",
        "There are too many network interfaces for one answer: use pagination, or filter by "
        "group-id, mac-address, private-dns-name, private-ip-address, subnet-id or vpc-id.",
    )


def unknown_parameter(name: str) -> CommonServiceException:
    """UnknownParameter: "An unknown or unrecognized parameter was supplied"."""
    return ec2_error("UnknownParameter", f"The parameter {name} is not recognized")


def dry_run() -> CommonServiceException:
    """DryRunOperation: the caller may, and nothing was done."""
    return ec2_error("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", 412)
