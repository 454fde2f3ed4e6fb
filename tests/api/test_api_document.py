"""Schemathesis reads our OpenAPI document and tries what it allows, and what it does not."""

from __future__ import annotations

import asyncio
import time

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from tests.api.api_harness import running
from tests.api.api_stories import finish

pytestmark = pytest.mark.integration
#: Of each operation and mode; the seed is fixed, so that a failure comes again.
EXAMPLES = 25
#: Calls that wait by design.
STREAMS = {"/submissions/{submission_id}/events"}
BOUND = settings(
    max_examples=EXAMPLES,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def tried(operation, mode, check) -> int:
    """How often the operation was called."""
    calls = 0

    @seed(3)
    @BOUND
    @given(case=operation.as_strategy(generation_mode=mode))
    def call(case):
        nonlocal calls
        calls += 1
        check(case)

    call()
    return calls


def checked(case, known: str) -> int:
    """One call: never a 5xx, a problem document when refused, a documented answer when not."""
    if "submission_id" in case.path_parameters and isinstance(known, str):
        # A made-up id is never there: half of the calls are about one that is.
        case.path_parameters["submission_id"] = known
    if "wait" in (case.query or {}):
        case.query["wait"] = 0 if isinstance(case.query["wait"], float | int) else "x"
    answer = case.call(timeout=20)
    told = (case.as_curl_command(), answer.status_code, answer.text[:500])
    assert answer.status_code < 500, told
    assert str(answer.status_code) in case.operation.definition.raw["responses"], told
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == ["application/problem+json"], told
        problem = answer.json()
        assert problem["status"] == answer.status_code, told
        assert problem["detail"], told
    elif answer.status_code == 200 and case.path not in STREAMS:
        case.operation.validate_response(answer)
    return answer.status_code


def everything(url: str, known: str) -> tuple[dict[str, int], int, int]:
    """(calls by status, how many events were accepted at most, how many submissions refused)."""
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    statuses: dict[str, int] = {}
    made: dict[str, int] = {}
    accepted = refused = 0

    def check(case):
        nonlocal accepted, refused
        status = checked(case, known)
        statuses[str(status)] = statuses.get(str(status), 0) + 1
        if (case.method.upper(), case.path) == ("POST", "/submissions"):
            accepted += 2 * (status == 201)
            refused += status != 201
        if (case.method.upper(), case.path) == ("POST", "/environments"):
            accepted += status == 201

    for found in schema.get_all_operations():
        operation = found.ok()
        for mode in GenerationMode:
            try:
                calls = tried(operation, mode, check)
            except Unsatisfiable:
                # An operation without any input has no wrong input.
                assert mode is GenerationMode.NEGATIVE, operation.label
                calls = 0
            made[operation.label] = made.get(operation.label, 0) + calls
    assert min(made.values()) > 0, made
    return statuses, accepted, refused


async def test_what_the_document_allows_and_forbids_is_never_a_5xx(nats):
    async with running(nats, body_seconds=5) as api:
        id_ = await api.new()
        await finish(api, id_)
        before = await api.log.last_sequence()
        began = time.monotonic()
        statuses, accepted, refused = await asyncio.to_thread(
            everything, str(api.client.base_url).rstrip("/"), id_
        )
        assert time.monotonic() - began < 120
        assert sum(statuses.values()) > 200
        assert statuses["422"] > 20
        assert refused > 20
        after = await api.log.last_sequence()
        assert before <= after <= before + accepted
        assert (await api.get("/healthz")).status_code == 200
