"""CreateTags and DeleteTags: moto keeps the tags, the history records them.

EC2 answers NotFound for an interface that does not exist; moto does not look.
"""

from localstack.services.moto import call_moto

from .call import Call
from .history import Record


def create_tags(call: Call) -> Record:
    """Tags resources and records the interfaces among them."""
    return _change(call)


def delete_tags(call: Call) -> Record:
    """Removes tags and records the interfaces among them."""
    return _change(call)


def _change(call: Call) -> Record:
    interfaces = [call.region.interface(r) for r in call.list("Resources") if r.startswith("eni-")]
    answer = call_moto(call.context)
    for eni in interfaces:
        call.region.record(eni)
    return answer
