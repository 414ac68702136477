"""The server's connections: where it listens, and answers that are lost or truncated.

The gateway runs on twisted's WSGI. The hook puts a call's fate into its WSGI
environment and carries it out when it writes the answer. So a call whose answer
is lost has been done.
"""

from typing import Any

from twisted.internet import endpoints, reactor
from twisted.web.wsgi import _WSGIResponse

_FATE = "veni.connection"


def install() -> None:
    """Wraps the gateway's writer, and makes it listen on the asked address only.

    LocalStack passes twisted no interface, so it would listen on every one.
    """
    _WSGIResponse.write = _write(_WSGIResponse.write)
    from localstack.runtime.server import twisted as serving

    serving.endpoints = _Endpoints()


def doom(environ: dict[str, Any], fate: str) -> None:
    """Decides the answer's fate: ``drop-request``, ``lose-answer`` or ``truncate``."""
    environ[_FATE] = fate


class _Endpoints:
    """Stands in for twisted's module in LocalStack's server; adds the interface."""

    TCP6ServerEndpoint = endpoints.TCP6ServerEndpoint

    @staticmethod
    def TCP4ServerEndpoint(used_reactor: Any, port: int) -> Any:  # noqa: N802 (twisted's name)
        from localstack import config

        hosts = [listen.host for listen in config.GATEWAY_LISTEN if listen.port == port]
        return endpoints.TCP4ServerEndpoint(used_reactor, port, interface=hosts[0] if hosts else "127.0.0.1")


def _write(original: Any) -> Any:
    def write(response: Any, data: bytes) -> Any:
        fate = response.environ.get(_FATE)
        if fate is None:
            return original(response, data)
        if fate == "truncate" and not response.started:
            original(response, data[: len(data) // 2])
            reactor.callFromThread(response.request.channel.loseConnection)
        elif not response.started:
            response.started = True
            reactor.callFromThread(response.request.channel.forceAbortClient)
        return None

    return write
