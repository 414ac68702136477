"""Faults that are injected on demand: rules that match calls and spoil them.

A rule says which calls (operation or family, parameters, access key), which of
them (after, count, sequence, probability) and what happens. Rules are tried in
the order they were added; latencies add up, the first other effect wins.
"""

import dataclasses
import itertools
import json
import os
import random
import threading
from typing import Any

from . import clock, denials, errors
from .families import DOCUMENTED_BUCKETS, family, matches
from .knobs import KNOBS

_ids = itertools.count(1)
_lock = threading.Lock()


@dataclasses.dataclass
class Bucket:
    """A token bucket on the hook's clock."""

    capacity: float
    per_second: float
    tokens: float = 0.0
    filled_at: float = 0.0

    def __post_init__(self) -> None:
        self.tokens, self.filled_at = self.capacity, clock.now()

    def take(self) -> bool:
        """Takes a token; False when there is none."""
        now = clock.now()
        self.tokens = min(self.capacity, self.tokens + (now - self.filled_at) * self.per_second)
        self.filled_at = now
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True


@dataclasses.dataclass
class Outcome:
    """What the rules make of one call."""

    latency_seconds: float = 0.0
    #: Sent instead of doing the call.
    error: Exception | None = None
    #: Sent instead of the answer to a call that was done.
    late_error: Exception | None = None
    #: ``drop-request`` (not done, no answer), ``lose-answer`` (done, no answer), ``truncate`` (done, half an answer).
    connection: str = ""


_EFFECTS = {
    "error",
    "throttle",
    "deny",
    "expired",
    "unknown_parameter",
    "lose_answer",
    "drop_request",
    "truncate",
    "latency_seconds",
}
_SELECTORS = {"name", "operations", "match", "access_key", "after", "count", "sequence", "probability"}


class Rule:
    """One rule out of its JSON form; see the README for its fields."""

    def __init__(self, form: dict[str, Any]) -> None:
        unknown = set(form) - _EFFECTS - _SELECTORS
        if unknown:
            raise ValueError(f"unknown field {', '.join(sorted(unknown))}")
        if not _EFFECTS & set(form):
            raise ValueError(f"a rule needs one of {', '.join(sorted(_EFFECTS))}")
        self.id = next(_ids)
        self.form = form
        operations = form.get("operations", ["*"])
        self.operations = [operations] if isinstance(operations, str) else list(operations)
        self.seen = 0
        self.hits = 0
        self.random = random.Random(KNOBS.seed or None)
        self.buckets: dict[str, Bucket] = {}
        _check_effects(form)

    def applies(self, operation: str, request: dict[str, Any], access_key: str, sent: frozenset[str]) -> bool:
        """Whether the rule spoils this call; counts it when it is one of the rule's.

        ``sent`` has the names of all parameters, those that LocalStack's own model lacks included.
        """
        if self.form.get("unknown_parameter", "") not in sent | {""}:
            return False
        if not matches(self.operations, operation, request):
            return False
        if not _has(self.form.get("access_key", access_key), access_key):
            return False
        if not all(_has(request.get(name), value) for name, value in self.form.get("match", {}).items()):
            return False
        self.seen += 1
        return self._is_chosen() and self._throttles(operation, request)

    def _is_chosen(self) -> bool:
        """after, count, sequence and probability."""
        number = self.seen - int(self.form.get("after", 0))
        count = self.form.get("count")
        if number < 1 or (count is not None and number > int(count)):
            return False
        if "sequence" in self.form and self.seen not in self.form["sequence"]:
            return False
        return self.random.random() < float(self.form.get("probability", 1.0))

    def _throttles(self, operation: str, request: dict[str, Any]) -> bool:
        """For a throttling rule: whether the bucket of this call is empty."""
        throttle = self.form.get("throttle")
        if throttle is None:
            return True
        own = family(operation, request)
        if throttle == "documented":
            key, size = f"{operation} {own}", DOCUMENTED_BUCKETS[own]
        else:
            key = {"operation": operation, "family": own}.get(throttle.get("per", "rule"), "")
            size = (float(throttle["capacity"]), float(throttle["per_second"]))
        return not self.buckets.setdefault(key, Bucket(*size)).take()

    def spoil(self, outcome: Outcome, operation: str, access_key: str) -> bool:
        """Adds the rule's effect; True when no later rule may add another one than latency."""
        self.hits += 1
        outcome.latency_seconds += float(self.form.get("latency_seconds", 0.0))
        if "error" in self.form:
            error = self.form["error"]
            spoilt = errors.ec2_error(error["code"], error.get("message", "injected"), error.get("status", 400))
            if error.get("done"):
                outcome.late_error = spoilt
            else:
                outcome.error = spoilt
        elif "throttle" in self.form:
            throttle = self.form["throttle"]
            code = "" if throttle == "documented" else throttle.get("code")
            outcome.error = errors.throttled(code or "RequestLimitExceeded")
        elif self.form.get("deny"):
            outcome.error = denials.denied(operation, access_key)
        elif self.form.get("expired"):
            outcome.error = denials.expired(operation)
        elif "unknown_parameter" in self.form:
            outcome.error = errors.unknown_parameter(self.form["unknown_parameter"])
        for effect in ("drop_request", "lose_answer", "truncate"):
            if self.form.get(effect):
                outcome.connection = effect.replace("_", "-")
        return bool(outcome.error or outcome.late_error or outcome.connection)

    def shown(self) -> dict[str, Any]:
        """The rule with its counters."""
        return {"id": self.id, "seen": self.seen, "hits": self.hits, **self.form}


def _check_effects(form: dict[str, Any]) -> None:
    """:raises ValueError: for an effect that would fail only when it strikes."""
    if "error" in form and not (isinstance(form["error"], dict) and form["error"].get("code")):
        raise ValueError("error needs a code")
    throttle = form.get("throttle")
    if throttle not in (None, "documented"):
        if not isinstance(throttle, dict) or not {"capacity", "per_second"} <= set(throttle):
            raise ValueError('throttle is "documented" or has capacity and per_second')
        if throttle.get("per", "rule") not in ("rule", "operation", "family"):
            raise ValueError("throttle.per is rule, operation or family")


def _has(given: Any, wanted: Any) -> bool:
    return wanted in given if isinstance(given, list) and not isinstance(wanted, list) else given == wanted


_rules: list[Rule] = []


def add(form: dict[str, Any]) -> Rule:
    """:raises ValueError: for a rule that cannot be."""
    rule = Rule(form)
    with _lock:
        _rules.append(rule)
    return rule


def remove(rule_id: int | None = None) -> int:
    """Removes one rule or all; answers how many went."""
    with _lock:
        gone = [rule for rule in _rules if rule_id in (None, rule.id)]
        for rule in gone:
            _rules.remove(rule)
        return len(gone)


def shown() -> list[dict[str, Any]]:
    """All rules with their counters."""
    with _lock:
        return [rule.shown() for rule in _rules]


def decide(
    operation: str, request: dict[str, Any], access_key: str, sent: frozenset[str] = frozenset()
) -> Outcome:
    """What happens to this call, which has been sent with parameters of these names."""
    outcome = Outcome(latency_seconds=KNOBS.latency_seconds)
    with _lock:
        decided = False
        for rule in _rules:
            if decided and "latency_seconds" not in rule.form:
                continue
            if rule.applies(operation, request, access_key, sent):
                decided = rule.spoil(outcome, operation, access_key) or decided
    return outcome


def read_environment() -> None:
    """Start rules: ``VENI_EC2_FAULTS`` holds a JSON list of them.

    :raises ValueError: when it does not.
    """
    for form in json.loads(os.environ.get("VENI_EC2_FAULTS") or "[]"):
        add(form)
