"""Makes LocalStack's EC2 behave as Amazon documents EC2, for the calls of a CNI.

LocalStack answers EC2 calls with moto, whose network interfaces know no
limits, no prefixes and no state machine. This package is loaded into the
running server by a start.d script. It answers the operations of
``operations.py`` itself, with state kept in moto's own objects (so the
operations it does not touch still agree), and leaves all others to moto.

Every rule, its source and its knob stand in ``localstack/ec2/README.md``.
"""


def install() -> None:
    """Puts the hook in force. Called once, before the server listens."""
    from . import connection, control, dispatch, faults, knobs, lifetime, stock

    knobs.read_environment()
    faults.read_environment()
    stock.install()
    connection.install()
    control.install()
    dispatch.install()
    lifetime.install()
    print("the EC2 fidelity hook is in force", flush=True)
