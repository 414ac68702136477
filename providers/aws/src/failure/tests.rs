use super::*;

fn class(action: Action, code: &str, message: &str, status: u16, asked: Scarcity) -> ErrorClass {
    let refusal = Refusal::new(action, meaning(code, message, status), code);
    refusal.error_in(&SubnetId::new("subnet-a"), asked).class
}

fn of(code: &str) -> ErrorClass {
    class(
        Action::AssignPrivateIpAddresses,
        code,
        "",
        400,
        Scarcity::Addresses,
    )
}

fn exhausted(scarcity: Scarcity) -> ErrorClass {
    ErrorClass::Exhausted {
        subnet: SubnetId::new("subnet-a"),
        scarcity,
    }
}

#[test]
fn every_code_that_throttles_is_throttled_with_and_without_the_blame_before_it() {
    for code in [
        "RequestLimitExceeded",
        "Client.RequestLimitExceeded",
        "Client.Throttling",
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestThrottled",
        "RequestThrottledException",
        "TooManyRequestsException",
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "PriorRequestNotComplete",
        "SlowDown",
    ] {
        assert_eq!(
            of(code),
            ErrorClass::Throttled { retry_after: None },
            "{code}"
        );
    }
    let unnamed = class(Action::DescribeSubnets, "", "", 429, Scarcity::Addresses);
    assert_eq!(unnamed, ErrorClass::Throttled { retry_after: None });
}

#[test]
fn a_full_subnet_is_exhausted_of_addresses_and_a_fragmented_one_of_prefixes() {
    assert_eq!(
        of("InsufficientFreeAddressesInSubnet"),
        exhausted(Scarcity::Addresses)
    );
    assert_eq!(of("InsufficientCidrBlocks"), exhausted(Scarcity::Prefixes));
}

#[test]
fn the_text_about_addresses_or_prefixes_is_about_what_was_asked_for() {
    let text = "There aren't sufficient free Ipv4 addresses or prefixes";
    for asked in [Scarcity::Addresses, Scarcity::Prefixes] {
        let class = class(
            Action::CreateNetworkInterface,
            "InvalidParameterValue",
            text,
            400,
            asked,
        );
        assert_eq!(class, exhausted(asked));
    }
}

#[test]
fn other_texts_of_an_invalid_value_are_told_apart() {
    let of = |text: &str| meaning("InvalidParameterValue", text, 400);
    let taken = "Instance 'i-1' already has an interface attached at device index '1'.";
    assert_eq!(of(taken), Meaning::DeviceIndexTaken);
    let gone = "Some of the specified addresses are not assigned to interface eni-1";
    assert_eq!(of(gone), Meaning::NotAssigned);
    let busy = "Network interface 'eni-1' is currently in use.";
    assert_eq!(of(busy), Meaning::InUse);
    assert_eq!(of("Value (x) is invalid"), Meaning::Invalid);
}

#[test]
fn limits_of_the_type_are_limits_and_quotas_of_the_account_have_to_be_granted() {
    for (code, limit) in [
        ("PrivateIpAddressLimitExceeded", Limit::Slots),
        ("AttachmentLimitExceeded", Limit::Interfaces),
    ] {
        assert_eq!(of(code), ErrorClass::LimitReached { limit }, "{code}");
    }
    assert_eq!(of("NetworkInterfaceLimitExceeded"), ErrorClass::Denied);
}

#[test]
fn missing_permission_and_bad_credentials_are_denied() {
    for code in [
        "UnauthorizedOperation",
        "Client.UnauthorizedOperation",
        "AccessDenied",
        "AccessDeniedException",
        "AuthFailure",
        "Blocked",
        "InvalidClientTokenId",
        "MissingAuthenticationToken",
        "NotAuthorized",
        "OptInRequired",
        "PendingVerification",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
        "IncompleteSignature",
        "VpcLimitExceeded",
    ] {
        assert_eq!(of(code), ErrorClass::Denied, "{code}");
    }
}

#[test]
fn what_does_not_exist_is_not_found() {
    for code in [
        "InvalidNetworkInterfaceID.NotFound",
        "InvalidNetworkInterfaceId.NotFound",
        "InvalidNetworkInterface.NotFound",
        "InvalidAttachmentID.NotFound",
        "InvalidAttachment.NotFound",
    ] {
        assert_eq!(of(code), ErrorClass::NotFound, "{code}");
    }
}

#[test]
fn what_passes_by_itself_is_transient() {
    for code in [
        "ExpiredToken",
        "ExpiredTokenException",
        "RequestExpired",
        "RequestTimeTooSkewed",
        "InvalidIPAddress.InUse",
        "ConcurrentTagAccess",
        "DependencyViolation",
        "ResourceCountExceeded",
        "InvalidNetworkInterface.InUse",
        "IncorrectState",
    ] {
        assert_eq!(of(code), ErrorClass::Transient, "{code}");
    }
}

#[test]
fn what_an_operator_must_repair_is_fatal() {
    for code in [
        "InvalidInstanceID.NotFound",
        "InvalidInstanceID.Malformed",
        "IncorrectInstanceState",
        "InvalidGroup.NotFound",
        "InvalidGroupId.Malformed",
        "InvalidSecurityGroupID.NotFound",
        "SecurityGroupsPerInterfaceLimitExceeded",
        "InvalidVpcID.NotFound",
        "InvalidSubnetID.NotFound",
        "InvalidSubnet",
        "InvalidInstanceType",
    ] {
        assert_eq!(of(code), ErrorClass::Fatal, "{code}");
    }
}

#[test]
fn what_the_cloud_cannot_do_is_unsupported() {
    for code in [
        "UnsupportedOperation",
        "Unsupported",
        "InvalidAction",
        "UnknownParameter",
    ] {
        assert_eq!(of(code), ErrorClass::Unsupported, "{code}");
    }
}

#[test]
fn trouble_inside_ec2_leaves_doubt_after_a_change_and_none_after_a_look() {
    for code in [
        "InternalError",
        "Server.InternalError",
        "InternalFailure",
        "ServerInternal",
        "ServiceUnavailable",
        "Unavailable",
        "Server.Unavailable",
    ] {
        assert_eq!(of(code), ErrorClass::OutcomeUnknown, "{code}");
        let look = class(
            Action::DescribeNetworkInterfaces,
            code,
            "",
            500,
            Scarcity::Addresses,
        );
        assert_eq!(look, ErrorClass::Transient, "{code}");
    }
}

#[test]
fn an_unknown_code_is_the_servers_fault_by_its_status_and_ours_otherwise() {
    let of_status = |status| {
        class(
            Action::DetachNetworkInterface,
            "BrandNew",
            "",
            status,
            Scarcity::Addresses,
        )
    };
    assert_eq!(of_status(500), ErrorClass::OutcomeUnknown);
    assert_eq!(of_status(400), ErrorClass::Invalid);
    for code in [
        "InvalidParameterCombination",
        "IdempotentParameterMismatch",
        "OperationNotPermitted",
    ] {
        assert_eq!(of(code), ErrorClass::Invalid, "{code}");
    }
}
