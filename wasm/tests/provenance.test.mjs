// Signatures in WebAssembly end as they do natively: the Sigstore conformance cases, and the formats of model signatures.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { test } from "node:test";

const wasm = createRequire(import.meta.url)("../pkg/node/assay_wasm.js");
const fixtures = join(import.meta.dirname ?? new URL(".", import.meta.url).pathname, "../../verifier/provenance/tests/fixtures");
const cases = join(fixtures, "sigstore-bundles");
const now = "2026-11-01T00:00:00Z";
const SUBJECT =
  "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main";
const ISSUER = "https://token.actions.githubusercontent.com";

const read = (...path) => readFileSync(join(...path));

function outcome(work) {
  try {
    work();
    return "accepted";
  } catch (error) {
    return error.code;
  }
}

test("the Sigstore conformance cases end for the reasons that they have natively", () => {
  const reasons = JSON.parse(read(cases, "reasons.json"));
  const names = readdirSync(cases, { withFileTypes: true }).filter((entry) => entry.isDirectory()).map((entry) => entry.name);
  assert.equal(names.length, 47);
  for (const name of names) {
    const has = (file) => existsSync(join(cases, name, file));
    const text = (file, fallback) => (has(file) ? read(cases, name, file).toString().trim() : fallback);
    const artifact = has("artifact") ? read(cases, name, "artifact") : read(cases, "a.txt");
    const who = has("key.pub")
      ? { key: read(cases, name, "key.pub").toString().trim() }
      : { identity: text("identity", SUBJECT), issuer: text("issuer", ISSUER) };
    const root = has("trusted_root.json") ? read(cases, name, "trusted_root.json") : read(cases, "public-good.json");
    const request = { ...who, sha256: createHash("sha256").update(artifact).digest("hex") };
    const found = outcome(() => wasm.verifySigstore(read(cases, name, "bundle.sigstore.json"), request, root, now));
    assert.equal(found, reasons[name] ?? "accepted", name);
    assert.equal(name.endsWith("_fail"), found !== "accepted", name);
  }
});

test("model signatures of every format end as they do natively", () => {
  const vectors = JSON.parse(read(fixtures, "model-signatures.json"));
  assert.ok(vectors.length >= 30);
  for (const [number, { bundle, signers, root, outcome: expected }] of vectors.entries()) {
    const judge = () => wasm.verifyModelSignature(read(fixtures, bundle), signers, root ? read(fixtures, root) : undefined, now);
    assert.equal(outcome(judge), expected, `case ${number}, ${bundle}`);
  }
});

test("a verified signature says who signed, what, and when", () => {
  const [{ bundle, signers }] = JSON.parse(read(fixtures, "model-signatures.json"));
  const verified = wasm.verifyModelSignature(read(fixtures, bundle), signers, undefined, now);
  assert.equal(verified.signer, "signer");
  assert.equal(Object.keys(verified.files).length, 4);
  const name = "happy-path-v0.3-new-mediaType";
  const request = { identity: SUBJECT, issuer: ISSUER, sha256: createHash("sha256").update(read(cases, "a.txt")).digest("hex") };
  const evidence = wasm.verifySigstore(read(cases, name, "bundle.sigstore.json"), request, read(cases, "public-good.json"), now);
  assert.equal(evidence.subject, SUBJECT);
  assert.ok(evidence.signed_at.startsWith("20"), evidence.signed_at);
});

test("a request that names nobody, or two, is refused", () => {
  const bundle = read(cases, "happy-path-v0.3-new-mediaType/bundle.sigstore.json");
  const root = read(cases, "public-good.json");
  for (const request of [{}, { identity: SUBJECT }, { identity: SUBJECT, issuer: ISSUER, key: "x" }]) {
    assert.notEqual(outcome(() => wasm.verifySigstore(bundle, request, root, now)), "accepted");
  }
});
