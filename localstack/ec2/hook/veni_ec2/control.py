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

from . import calls, changes, clock, faults, knobs
from .addresses import PREFIX_SIZE, ipv4
from .interfaces import extras, network_interface
from .operations import OPERATIONS
from .region import Region, find_region, known_regions

_DEFAULT_ACCOUNT = "000000000000"
_DEFAULT_REGION = "us-east-1"
_LONGEST_WAIT_SECONDS = 60.0


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
    vpc_id = request.args.get("vpc")
    if request.method == "POST":
        knobs.change(_body(request), vpc_id)
    return dataclasses.asdict(knobs.of(vpc_id))


def _clock(request: Request) -> Any:
    if request.method == "POST":
        body = _body(request)
        unknown = set(body) - {"advance_seconds", "frozen"}
        if unknown:
            raise ValueError(f"unknown field {', '.join(sorted(unknown))}")
        if "frozen" in body:
            clock.freeze(bool(body["frozen"]))
        clock.advance(float(body.get("advance_seconds", 0)))
        changes.alarm()
    return {"now": clock.now()}


def _reset(_request: Request) -> Any:
    """Faults, counts and knobs as at start, the clock running; EC2's state stays."""
    clock.freeze(False)
    changes.alarm()
    faults.remove()
    faults.read_environment()
    calls.reset()
    knobs.reset()
    return dataclasses.asdict(knobs.KNOBS)


def _state(request: Request) -> Any:
    """The truth, which a lagging Describe may not show yet; of one VPC, or of all.

    ``after``: the generation that the caller knows; the answer waits for another
    one, at most ``wait`` seconds. ``follow``: the caller acts on what it is
    told, and asks again when it has.
    """
    vpc_id, known = request.args.get("vpc"), request.args.get("after")
    if known is not None:
        if vpc_id and request.args.get("follow"):
            changes.follow(vpc_id, int(known))
        seconds = min(float(request.args.get("wait", 0)), _LONGEST_WAIT_SECONDS)
        changes.await_other(vpc_id, int(known), seconds, _settle)
    _settle()
    # Before the look: what changes meanwhile is told again.
    generation = changes.generation(vpc_id)
    regions = [_region_state(*found, vpc_id) for found in known_regions()]
    return {"generation": generation, "now": clock.now(), "regions": regions}


def _follower(_request: Request, vpc_id: str) -> Any:
    """The follower of a VPC has ended: no answer waits for it any more."""
    return {"removed": changes.unfollow(vpc_id)}


def _settle() -> float | None:
    """Ends what is due in all regions; in how many real seconds the next is, if the clock goes."""
    moments = []
    for _, _, region in known_regions():
        with region.lock:
            region.settle()
            moments.append(region.next_due())
    seconds = (clock.real_seconds_until(moment) for moment in moments if moment is not None)
    return min((one for one in seconds if one is not None), default=None)


def _region_state(account_id: str, name: str, region: Region, vpc_id: str | None) -> dict[str, Any]:
    with region.lock:
        backend = region.backend
        visible = {record["NetworkInterfaceId"] for record in region.visible()}
        interfaces = sorted(backend.enis.values(), key=lambda eni: extras(eni).sequence)
        instances = [i for r in backend.reservations.values() for i in r.instances]
        subnets = [s for found in backend.subnets.values() for s in found.values() if s.cidr_block]
        groups = [g for found in backend.groups.values() for g in found.values()]

        def wanted(one: str | None) -> bool:
            return vpc_id in (None, one)

        return {
            "account": account_id,
            "region": name,
            "interfaces": [
                network_interface(e) | {"Visible": e.id in visible} for e in interfaces if wanted(e.subnet.vpc_id)
            ],
            "instances": [_instance_state(i) for i in instances if wanted(i.vpc_id)],
            "subnets": [_subnet_state(region, s) for s in subnets if wanted(s.vpc_id)],
            "security_groups": [_group_state(g) for g in groups if wanted(g.vpc_id)],
        }


def _group_state(group: Any) -> dict[str, Any]:
    return {
        "GroupId": group.id,
        "VpcId": group.vpc_id,
        "Ingress": [_rule_state(rule) for rule in group.ingress_rules],
        "Egress": [_rule_state(rule) for rule in group.egress_rules],
    }


def _rule_state(rule: Any) -> dict[str, Any]:
    """One rule has one peer: a range, or the members of a group."""
    return {
        "IpProtocol": rule.ip_protocol,
        "FromPort": rule.from_port,
        "ToPort": rule.to_port,
        "Cidr": rule.cidr_ipv4 or rule.cidr_ipv6,
        "GroupId": rule.source_group.get("GroupId"),
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
        "Ipv6CidrBlocks": [found["ipv6CidrBlock"] for found in subnet.ipv6_cidr_block_association_set],
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
    ("followers/<vpc_id>", ["DELETE"], _follower),
    ("fill", ["POST"], _fill),
]
