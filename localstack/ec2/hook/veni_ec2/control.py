"""The hook's own endpoints under ``/_veni/``: faults, counts, state, clock, knobs.

All speak JSON. A request that makes no sense is answered with status 400 and
``{"problem": …}``.
"""

import dataclasses
import functools
import ipaddress
import json
from collections.abc import Callable
from typing import Any

from localstack.http import Request, Response
from localstack.services.edge import ROUTER

from . import calls, clock, faults, knobs
from .addresses import PREFIX_SIZE, ipv4
from .interfaces import extras, network_interface
from .operations import OPERATIONS
from .region import Region, find_region, known_regions

_DEFAULT_ACCOUNT = "000000000000"
_DEFAULT_REGION = "us-east-1"


def install() -> None:
    """Adds the endpoints to the gateway's router."""
    for path, methods, endpoint in _ENDPOINTS:
        ROUTER.add(f"/_veni/{path}", _speak_json(endpoint), methods=methods)


def _speak_json(endpoint: Callable[..., Any]) -> Callable[..., Response]:
    @functools.wraps(endpoint)
    def handler(request: Request, **parameters: Any) -> Response:
        try:
            status, body = 200, endpoint(request, **parameters)
        except (ValueError, KeyError, TypeError) as error:
            status, body = 400, {"problem": str(error)}
        return Response(json.dumps(body, default=str), status=status, mimetype="application/json")

    return handler


def _body(request: Request) -> dict[str, Any]:
    body = json.loads(request.get_data() or b"{}")
    if not isinstance(body, dict):
        raise ValueError("the body must be a JSON object")
    return body


def _health(_request: Request) -> Any:
    return {"hook": "in force", "operations": sorted(OPERATIONS)}


def _faults(request: Request) -> Any:
    if request.method == "POST":
        return faults.add(_body(request)).shown()
    if request.method == "DELETE":
        return {"removed": faults.remove()}
    return {"faults": faults.shown()}


def _fault(request: Request, rule_id: int) -> Any:
    return {"removed": faults.remove(int(rule_id))}


def _calls(request: Request) -> Any:
    if request.method == "DELETE":
        calls.reset()
    return calls.counts(request.args.get("access_key")) | ({"log": calls.log()} if request.args.get("log") else {})


def _knobs(request: Request) -> Any:
    if request.method == "POST":
        knobs.KNOBS.change(_body(request))
    return dataclasses.asdict(knobs.KNOBS)


def _clock(request: Request) -> Any:
    if request.method == "POST":
        body = _body(request)
        unknown = set(body) - {"advance_seconds", "frozen"}
        if unknown:
            raise ValueError(f"unknown field {', '.join(sorted(unknown))}")
        if "frozen" in body:
            clock.freeze(bool(body["frozen"]))
        clock.advance(float(body.get("advance_seconds", 0)))
    return {"now": clock.now()}


def _reset(_request: Request) -> Any:
    """Faults, counts and knobs as at start, the clock running; EC2's state stays."""
    clock.freeze(False)
    faults.remove()
    faults.read_environment()
    calls.reset()
    knobs.reset()
    return dataclasses.asdict(knobs.KNOBS)


def _state(_request: Request) -> Any:
    return {"now": clock.now(), "regions": [_region_state(*found) for found in known_regions()]}


def _region_state(account_id: str, name: str, region: Region) -> dict[str, Any]:
    """The truth, which a lagging Describe may not show yet."""
    with region.lock:
        region.settle()
        backend = region.backend
        visible = {record["NetworkInterfaceId"] for record in region.visible()}
        interfaces = sorted(backend.enis.values(), key=lambda eni: extras(eni).sequence)
        instances = [i for r in backend.reservations.values() for i in r.instances]
        subnets = [s for found in backend.subnets.values() for s in found.values() if s.cidr_block]
        return {
            "account": account_id,
            "region": name,
            "interfaces": [network_interface(e) | {"Visible": e.id in visible} for e in interfaces],
            "instances": [_instance_state(instance) for instance in instances],
            "subnets": [_subnet_state(region, subnet) for subnet in subnets],
        }


def _instance_state(instance: Any) -> dict[str, Any]:
    return {
        "InstanceId": instance.id,
        "InstanceType": instance.instance_type,
        "State": instance.state,
        "AvailabilityZone": instance._placement.zone,
        "NetworkInterfaceIds": [] if instance.state == "terminated" else [e.id for e in instance.nics.values()],
    }


def _subnet_state(region: Region, subnet: Any) -> dict[str, Any]:
    return {
        "SubnetId": subnet.id,
        "VpcId": subnet.vpc_id,
        "CidrBlock": subnet.cidr_block,
        "AvailableIpAddressCount": region.ipv4_space(subnet).free_count(),
        "Filled": [ipv4(a) for a in sorted(region.filled.get(subnet.id, ()))],
    }


def _fill(request: Request) -> Any:
    """Takes addresses of a subnet out of use, as other tenants of it would.

    ``leave``: all but so many; ``fragment``: one address in each free /28;
    ``addresses``: just these; ``clear``: none any more.
    """
    body = _body(request)
    ways = [way for way in ("leave", "fragment", "addresses", "clear") if way in body]
    if len(ways) != 1:
        raise ValueError("one of leave, fragment, addresses and clear is needed")
    region = find_region(body.get("account", _DEFAULT_ACCOUNT), body.get("region", _DEFAULT_REGION))
    with region.lock:
        region.settle()
        subnets = {s.id: s for found in region.backend.subnets.values() for s in found.values()}
        if body.get("subnet") not in subnets:
            raise ValueError(f"there is no subnet {body.get('subnet')}")
        subnet = subnets[body["subnet"]]
        space = region.ipv4_space(subnet)
        filled = region.filled.setdefault(subnet.id, set())
        free = [a for a in range(space.first, space.last + 1) if a not in space.used]
        if "clear" in body:
            filled.clear()
        elif "leave" in body:
            filled.update(free[: max(0, len(free) - int(body["leave"]))])
        elif "fragment" in body:
            blocks = range(space.first - space.first % PREFIX_SIZE, space.last + 1, PREFIX_SIZE)
            filled.update(base for base in blocks if space.block_is_free(base))
        else:
            filled.update(int(ipaddress.IPv4Address(a)) for a in body["addresses"])
        return _subnet_state(region, subnet)


_ENDPOINTS: list[tuple[str, list[str], Callable[..., Any]]] = [
    ("health", ["GET"], _health),
    ("faults", ["GET", "POST", "DELETE"], _faults),
    ("faults/<int:rule_id>", ["DELETE"], _fault),
    ("calls", ["GET", "DELETE"], _calls),
    ("knobs", ["GET", "POST"], _knobs),
    ("clock", ["GET", "POST"], _clock),
    ("reset", ["POST"], _reset),
    ("state", ["GET"], _state),
    ("fill", ["POST"], _fill),
]
