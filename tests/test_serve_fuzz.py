"""Requests that nobody would make, from the OpenAPI document: none ends in an error of ours."""

import pytest
from hypothesis import HealthCheck, settings
from serving import API, copied

from soundkin.serve import create_app

schemathesis = pytest.importorskip("schemathesis")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def schema_of(made, tmp_path_factory):
    app = create_app(copied(made.library, tmp_path_factory.mktemp("fuzz") / "library"))
    yield schemathesis.openapi.from_asgi(f"{API}/openapi.json", app, base_url="http://localhost")
    app.state.shared.close()


schema = schemathesis.pytest.from_fixture("schema_of").exclude(path=f"{API}/scan/events")  # it does not end


@schema.parametrize()
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_request_breaks_the_server(case):
    answer = case.call(headers={"host": "localhost"})
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        assert set(answer.json()["error"]) == {"kind", "message", "choices"}
    else:
        case.validate_response(
            answer,
            checks=[schemathesis.checks.not_a_server_error, schemathesis.checks.response_schema_conformance],
        )
