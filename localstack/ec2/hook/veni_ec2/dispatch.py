"""The hook's place in LocalStack's gateway: before the service, and after the answer.

Before: faults strike, then the hook's own operations are answered; everything
else goes on to LocalStack. After: every call is counted with its outcome.
"""

import re
from typing import Any

from localstack.aws import handlers
from localstack.aws.api import CommonServiceException, RequestContext
from localstack.aws.protocol.serializer import create_serializer
from localstack.http import Response

from . import calls, changes, connection, denials, errors, faults, lifetime
from .call import Call
from .families import MUTATING, family
from .operations import OPERATIONS
from .region import find_region

_ACCESS_KEY = re.compile(r"Credential=([^/]+)/")
_FATE = "veni_fate"
_LATE_ERROR = "veni_late_error"
_CONCERNED = "veni_concerned"
_DECODE = "sts:DecodeAuthorizationMessage"
#: What they make is nobody's yet.
_CONCERN_NOBODY = frozenset({"CreateVpc"})


def install() -> None:
    """Joins the gateway's handler chain."""
    handlers.serve_custom_service_request_handlers.append(_before)
    handlers.run_custom_response_handlers.append(_after)


def access_key(context: RequestContext) -> str:
    """The access key that signed the request; faults can tell nodes apart by it."""
    found = _ACCESS_KEY.search(context.request.headers.get("Authorization", ""))
    return found.group(1) if found else ""


def _before(chain: Any, context: RequestContext, response: Response) -> None:
    if not context.service or not context.operation or context.is_internal_call:
        return
    changes.begin_call()
    is_ec2 = context.service.service_name == "ec2"
    operation, request = context.operation.name, dict(context.service_request or {})
    sent = frozenset(name.split(".")[0] for name in context.request.values)
    outcome = faults.decide(operation if is_ec2 else _name(context), request, access_key(context), sent)
    if outcome.latency_seconds:
        lifetime.pause(outcome.latency_seconds)
    if outcome.connection:
        connection.doom(context.request.environ, outcome.connection)
        setattr(context, _FATE, outcome.connection)
    setattr(context, _LATE_ERROR, outcome.late_error)
    if outcome.connection == "drop-request":
        response.data = b"never sent: the connection is cut when this is written"
        chain.stop()
        return
    try:
        if outcome.error:
            raise outcome.error
        if is_ec2 and operation in OPERATIONS:
            _answer(context, response, _run(context, operation, request))
        elif _name(context) == _DECODE:
            _answer(context, response, denials.decode(request))
        else:
            if is_ec2 and family(operation, request) == MUTATING:
                # Asked before: what the call deletes is not found afterwards.
                setattr(context, _CONCERNED, _concerned(context, operation, request))
            return
    except CommonServiceException as error:
        _refuse(context, response, error)
    chain.stop()


def _run(context: RequestContext, operation: str, request: dict[str, Any]) -> dict[str, Any]:
    region = find_region(context.account_id, context.region)
    if request.get("DryRun"):
        raise errors.dry_run()
    with region.lock:
        region.settle()
        result = OPERATIONS[operation](Call(context, region, request))
        changes.shown(_networks_in(result))
        return result


def _networks_in(result: dict[str, Any]) -> set[str]:
    """The VPCs whose interfaces an answer shows."""
    instances = (i for reservation in result.get("Reservations", ()) for i in reservation["Instances"])
    return {one["VpcId"] for one in (*result.get("NetworkInterfaces", ()), *instances) if "VpcId" in one}


def _answer(context: RequestContext, response: Response, result: dict[str, Any]) -> None:
    result = {name: value for name, value in result.items() if value is not None}
    context.service_response = result
    serializer = create_serializer(context.service, context.protocol)
    answer = serializer.serialize_to_response(result, context.operation, context.request.headers, context.request_id)
    response.update_from(answer)


def _refuse(context: RequestContext, response: Response, error: CommonServiceException) -> None:
    context.service_exception = error
    serializer = create_serializer(context.service, context.protocol)
    answer = serializer.serialize_error_to_response(
        error, context.operation, context.request.headers, context.request_id
    )
    response.update_from(answer)


def _after(_chain: Any, context: RequestContext, response: Response) -> None:
    if not context.service or not context.operation or context.is_internal_call:
        return
    late_error = getattr(context, _LATE_ERROR, None)
    if late_error is not None and context.service_exception is None and response.status_code < 400:
        _refuse(context, response, late_error)
    error = context.service_exception
    outcome = error.code if error is not None else ("ok" if response.status_code < 400 else str(response.status_code))
    outcome = getattr(context, _FATE, None) or outcome
    operation, request = context.operation.name, dict(context.service_request or {})
    calls.finished(_name(context), request, access_key(context), outcome)
    for vpc_id in getattr(context, _CONCERNED, ()):
        changes.changed(vpc_id)
    changes.await_followers()


def _concerned(context: RequestContext, operation: str, request: dict[str, Any]) -> set[str | None]:
    """Where a call changes something that the hook does not answer itself; None is anywhere."""
    if operation in _CONCERN_NOBODY:
        return set()
    region = find_region(context.account_id, context.region)
    with region.lock:
        return region.networks_named_in(request) or {None}


def _name(context: RequestContext) -> str:
    """The operation's name; with the service's before it when that is not EC2."""
    service = context.service.service_name
    return context.operation.name if service == "ec2" else f"{service}:{context.operation.name}"
