"""Requests that nobody would make, from the OpenAPI document: none ends in an error of ours."""

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from made import copied
from served import running
from serving import API

schemathesis = pytest.importorskip("schemathesis")
pytestmark = pytest.mark.slow

_EXAMPLES = 25


def test_no_request_breaks_the_server(made, tmp_path):
    with running(copied(made.library, tmp_path / "library")) as (address, _):
        document = httpx.get(f"{address}{API}/openapi.json", timeout=120).json()
        del document["paths"][f"{API}/scan/events"]  # it does not end
        operations = [found.ok() for found in schemathesis.openapi.from_dict(document).get_all_operations()]
        assert len(operations) == sum(len(methods) for methods in document["paths"].values())
        for operation in operations:
            _ask(operation, address)


def _ask(operation, address):
    codes = set()

    @settings(max_examples=_EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy())
    def ask(case):
        answer = case.call(base_url=address)
        codes.add(answer.status_code)
        assert answer.status_code < 500, (operation.label, answer.text)
        if answer.status_code >= 400:
            assert set(answer.json()["error"]) == {"kind", "message", "choices"}
        else:
            case.validate_response(answer, checks=[schemathesis.checks.response_schema_conformance])

    ask()
    assert codes, operation.label
