"""One EC2 call on its way through the hook."""

import dataclasses
from typing import Any

from localstack.aws.api import RequestContext

from .region import Region


@dataclasses.dataclass
class Call:
    """What an operation gets: the request as EC2's structure and the state it acts on."""

    context: RequestContext
    region: Region
    request: dict[str, Any]

    def get(self, name: str) -> Any:
        """A parameter, None when it is not given."""
        return self.request.get(name)

    def count(self, name: str) -> int:
        """A parameter that is a number of things to assign; 0 when it is not given."""
        return int(self.request.get(name) or 0)

    def list(self, name: str) -> list[Any]:
        """A list parameter, empty when it is not given."""
        return list(self.request.get(name) or [])
