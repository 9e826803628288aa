"""What travels is what the published schemas say: documents of the real binaries against schema/json and /openapi.json."""

import json
import urllib.error
import urllib.request

import jsonschema
import pytest
from openapi_spec_validator import validate as validate_openapi

from conftest import REPO


def schema(name):
    return json.loads((REPO / "schema" / "json" / f"{name}.json").read_text())


def get(world, path):
    request = urllib.request.Request(world.registry.url + path, headers={"authorization": f"Bearer {world.registry.token}"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return json.load(error)


def check(document, name):
    jsonschema.validate(document, schema(name), cls=jsonschema.Draft202012Validator)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/namespaces", "namespace-page"),
        ("/v1/namespaces/acme", "namespace-info"),
        ("/v1/namespaces/acme/models", "model-page"),
        ("/v1/namespaces/acme/models/minilm", "model-info"),
        ("/v1/namespaces/acme/models/minilm/releases", "release-page"),
        ("/v1/namespaces/acme/models/minilm/releases/1.0.0", "release-info"),
        ("/v1/namespaces/acme/models/minilm/check?root=1", "check-bundle"),
        ("/v1/search?q=mini", "search-page"),
        ("/v1/namespaces/nobody", "problem"),
        ("/v1/namespaces/..%2fx", "problem"),
        ("/v1/namespaces/acme/models/minilm/check?root=x", "problem"),
        ("/no/such/path", "problem"),
    ],
)
def test_answers_are_what_their_schema_says(published, path, name):
    check(get(published, path), name)


def test_signed_documents_are_what_their_schema_says(published):
    bundle = get(published, "/v1/namespaces/acme/models/minilm/check?root=1")
    targets = json.loads(bundle["targets"])["signed"]["targets"]
    signers = json.loads(targets["trust/signers.json"]["custom"]["x-assay"]["inline"])
    check(signers, "signers")
    manifests = [blob["content"] for blob in bundle["blobs"] if '"files":' in blob["content"]]
    assert manifests
    for manifest in manifests:
        check(json.loads(manifest), "release-manifest")


def test_verdicts_are_what_their_schema_says(published):
    device = published.device()
    for result in (device.check("minilm"), device.check("minilm", "--require", "log"), device.pull("minilm"), device.verify("minilm")):
        check(result.json["verdict"], "verdict")


def test_the_schemas_refuse_what_is_not_theirs(published):
    info = get(published, "/v1/namespaces/acme")
    for change in ({"identity": "X"}, {"name": "../x"}, {"visibility": "secret"}, {"versions": []}):
        with pytest.raises(jsonschema.ValidationError):
            check(info | change, "namespace-info")


def test_the_openapi_document_is_valid(published):
    validate_openapi(get(published, "/openapi.json"))
