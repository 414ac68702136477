# Runs inside LocalStack (a start.d script): puts the EC2 fidelity hook in force.
#
# LocalStack only logs what a start.d script raises and goes on as a stock
# server. A test against such a server would prove the wrong thing, so a hook
# that cannot be installed ends the server.
import os
import sys
import traceback

try:
    sys.path.insert(0, os.environ["VENI_EC2_HOOK"])
    import veni_ec2

    veni_ec2.install()
except BaseException:
    traceback.print_exc()
    print("the EC2 fidelity hook could not be installed: the server ends", file=sys.stderr, flush=True)
    os._exit(3)
