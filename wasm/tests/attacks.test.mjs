// What every attack showed a device, again: the module must come to what the native verifier came to, by the same requests.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { test } from "node:test";
import { webcrypto } from "node:crypto";

// Node 18 has it, but not where browsers do.
globalThis.crypto ??= webcrypto;

const wasm = createRequire(import.meta.url)("../pkg/node/assay_wasm.js");
const file = new URL("../../verifier/tests/vectors/attacks.json", import.meta.url);
const { documents, vectors } = JSON.parse(readFileSync(file, "utf8"));
const bytes = documents.map((text) => new TextEncoder().encode(text));

function answer(check, how) {
  if (how === "missing") check.answerMissing();
  else if (how === "not-modified") check.answerNotModified();
  else if ("failed" in how) check.answerFailed(how.failed);
  else if ("spaces" in how) check.answerFound(new Uint8Array(how.spaces).fill(0x20), undefined);
  else check.answerFound(bytes[how.found], how.etag ?? undefined);
}

// Absent and null are the same in JSON that Rust wrote.
const given = (object) => Object.fromEntries(Object.entries(object).filter(([, value]) => value !== null));

function replay(vector) {
  const request = given(vector.request);
  if (request.cached) request.cached = given({ ...request.cached, text: documents[request.cached.text] });
  const check = new wasm.Check(vector.pin, documents[vector.state], false, request, vector.now);
  const exchanges = [...vector.exchanges];
  for (;;) {
    switch (check.status()) {
      case "fetch": {
        const next = exchanges.shift();
        assert.ok(next, "the native verifier asked for nothing more");
        assert.deepEqual(check.wanted(), next.wanted);
        answer(check, next.answer);
        break;
      }
      case "persist":
        check.persisted();
        break;
      default:
        assert.equal(exchanges.length, 0, "the native verifier asked for more");
        return check;
    }
  }
}

function outcome(check) {
  const status = check.status();
  if (status === "permitted") {
    return { status, version: check.manifest().version, manifest: check.verdict().subject.manifest };
  }
  if (status === "deferred") return { status };
  const { stage, code, expected, found } = check.verdict().stages.find((report) => report.outcome === "refused");
  return { status, stage, code, expected, found };
}

assert.ok(vectors.length > 100, `only ${vectors.length} vectors`);
for (const vector of vectors) {
  test(`${vector.attack}: ${vector.what}`, () => {
    assert.deepEqual(outcome(replay(vector)), vector.outcome);
  });
}
