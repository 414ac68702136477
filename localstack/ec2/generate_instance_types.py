"""Writes the table of instance types out of DescribeInstanceTypes.

Without arguments it reads the data that the pinned LocalStack carries, which is
what the real call answered for all regions when it was built. With ``--region``
it asks EC2 itself, with the caller's own credentials and endpoint; several
regions are merged, because no region has every type.
"""

import argparse
import datetime
import pathlib
import sys
from collections.abc import Iterable
from typing import Any

TABLE = pathlib.Path(__file__).resolve().parents[2] / "ipamd/pool/data/aws-instance-types.txt"

HEADER = """\
# EC2 instance types: what limits the addresses of a node.
# Written by localstack/ec2/generate-instance-types; do not edit by hand.
# Source: {source}
# Date: {date}
# Columns, separated by one space:
#   name                 instance type
#   interfaces           network interfaces the default network card takes
#   ipv4                 IPv4 addresses per interface, the primary one included; a prefix takes the place of one
#   ipv6                 IPv6 addresses per interface
#   vcpus                default number of virtual CPUs
#   hypervisor           nitro, xen, or unknown (bare metal has none)
#   metal                1 for bare metal, else 0
#   cards                network cards
#   all-interfaces       network interfaces over all cards
"""


def row(described: dict[str, Any]) -> str:
    """One line out of one InstanceTypeInfo."""
    network = described["NetworkInfo"]
    default = network.get("DefaultNetworkCardIndex", 0)
    card = next(c for c in network["NetworkCards"] if c["NetworkCardIndex"] == default)
    columns = (
        described["InstanceType"],
        card["MaximumNetworkInterfaces"],
        network["Ipv4AddressesPerInterface"],
        network.get("Ipv6AddressesPerInterface", 0) if network.get("Ipv6Supported") else 0,
        described["VCpuInfo"]["DefaultVCpus"],
        described.get("Hypervisor") or "unknown",
        int(bool(described.get("BareMetal"))),
        network["MaximumNetworkCards"],
        network["MaximumNetworkInterfaces"],
    )
    return " ".join(str(column) for column in columns)


def from_localstack() -> tuple[str, list[dict[str, Any]]]:
    """The data of the installed moto, and its name for the header."""
    from importlib.metadata import version

    from moto.ec2.models.instance_types import INSTANCE_TYPES

    source = f"DescribeInstanceTypes of all regions, as moto-ext {version('moto-ext')} carries it"
    return source, list(INSTANCE_TYPES.values())


def from_regions(regions: Iterable[str]) -> tuple[str, list[dict[str, Any]]]:
    """What EC2 answers in these regions now."""
    import boto3

    found: dict[str, dict[str, Any]] = {}
    for region in regions:
        pages = boto3.client("ec2", region_name=region).get_paginator("describe_instance_types").paginate()
        found |= {described["InstanceType"]: described for page in pages for described in page["InstanceTypes"]}
    return f"DescribeInstanceTypes of {', '.join(regions)}", list(found.values())


def table(source: str, date: str, described: list[dict[str, Any]]) -> str:
    """The whole file, ordered by name."""
    rows = sorted(row(d) for d in described)
    return HEADER.format(source=source, date=date) + "\n".join(rows) + "\n"


def without_date(text: str) -> list[str]:
    """The lines that a regeneration must reproduce."""
    return [line for line in text.splitlines() if not line.startswith("# Date:")]


def main() -> int:
    """Writes the table, or with ``--check`` compares it."""
    parser = argparse.ArgumentParser(prog="generate-instance-types", description=__doc__)
    parser.add_argument("--region", action="append", help="ask EC2 in this region; may be repeated")
    parser.add_argument("--output", type=pathlib.Path, default=TABLE, help="the file to write (default: %(default)s)")
    parser.add_argument("--check", action="store_true", help="write nothing; fail when the file is not up to date")
    arguments = parser.parse_args()
    source, described = from_regions(arguments.region) if arguments.region else from_localstack()
    text = table(source, datetime.date.today().isoformat(), described)
    if arguments.check:
        if without_date(arguments.output.read_text()) == without_date(text):
            return 0
        print(f"{arguments.output} is not what the generator writes; run it again", file=sys.stderr)
        return 1
    arguments.output.write_text(text)
    print(f"{arguments.output}: {len(described)} instance types", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
