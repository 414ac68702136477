"""Denied calls, and reading why: UnauthorizedOperation and DecodeAuthorizationMessage.

EC2 sends an encoded message with a denial; STS decodes it for those who may
("DecodeAuthorizationMessage", STS API reference). Moto decodes nothing.
"""

import base64
import binascii
import json
from typing import Any

from localstack.aws.api import CommonServiceException

from . import errors

_MARK = b"veni:"


def denied(operation: str, access_key: str) -> CommonServiceException:
    """What a caller without the permission gets: of EC2 UnauthorizedOperation, of STS AccessDenied."""
    user = f"arn:aws:iam::000000000000:user/{access_key or 'anonymous'}"
    action = f"ec2:{operation}" if ":" not in operation else operation
    reason = f"User: {user} is not authorized to perform: {action}"
    if ":" in operation:
        return errors.ec2_error("AccessDenied", reason, 403)
    reason += f" because no identity-based policy allows the {action} action"
    return errors.ec2_error(
        "UnauthorizedOperation",
        f"You are not authorized to perform this operation. {reason}. "
        f"Encoded authorization failure message: {_encode(user, action)}",
        403,
    )


def expired(operation: str) -> CommonServiceException:
    """What expired credentials get: of EC2 RequestExpired, of STS ExpiredToken."""
    if ":" in operation:
        return errors.ec2_error("ExpiredToken", "The security token included in the request is expired", 403)
    return errors.ec2_error("RequestExpired", "Request has expired.")


def _encode(user: str, action: str) -> str:
    details = {"allowed": False, "explicitDeny": False, "context": {"principal": {"arn": user}, "action": action}}
    return base64.urlsafe_b64encode(_MARK + json.dumps(details).encode()).decode()


def decode(request: dict[str, Any]) -> dict[str, Any]:
    """STS's DecodeAuthorizationMessage.

    :raises: InvalidAuthorizationMessageException for what was never encoded.
    """
    try:
        text = base64.urlsafe_b64decode(request.get("EncodedMessage") or "")
    except (binascii.Error, ValueError):
        text = b""
    if not text.startswith(_MARK):
        raise errors.ec2_error("InvalidAuthorizationMessageException", "The message is not an encoded one.")
    return {"DecodedMessage": text.removeprefix(_MARK).decode()}
