// The module in Node against releases of the native publisher, served by a real registry.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { randomBytes, webcrypto } from "node:crypto";

import { MemoryStore, checkRelease, verifyBundle, verifyRelease } from "../js/assay.mjs";

// Node 18 has it, but not where browsers do.
globalThis.crypto ??= webcrypto;

const wasm = createRequire(import.meta.url)("../pkg/node/assay_wasm.js");
const bin = process.env.ASSAY_BIN_DIR ?? "target/debug";
const root = mkdtempSync(join(tmpdir(), "assay-wasm-"));
const model = join(root, "model");
const files = ["config.json", "model.safetensors", "tokenizer/vocab.txt", "empty.txt"];
let server;
let options;
let token;

function assay(...args) {
  const env = { ...process.env, ASSAY_REGISTRY: options.registry, ASSAY_TOKEN: token, NO_COLOR: "1" };
  const done = spawnSync(join(bin, "assay"), args, { env, encoding: "utf8" });
  assert.equal(done.status, 0, `assay ${args.join(" ")}\n${done.stdout}\n${done.stderr}`);
  return done.stdout;
}

before(async () => {
  mkdirSync(join(model, "tokenizer"), { recursive: true });
  writeFileSync(join(model, "config.json"), "{}");
  writeFileSync(join(model, "model.safetensors"), randomBytes(5 * (1 << 20) + 3));
  writeFileSync(join(model, "tokenizer/vocab.txt"), "a\nb\n");
  writeFileSync(join(model, "empty.txt"), "");
  server = spawn(join(bin, "assay-server"), ["--listen", "127.0.0.1:0", "--data-dir", join(root, "data")]);
  let log = "";
  const port = await new Promise((resolve, reject) => {
    const look = (data) => {
      log += data;
      const address = /listening on http:\/\/127\.0\.0\.1:(\d+)/.exec(log);
      const secret = /admin token \(shown once\): (\S+)/.exec(log);
      if (address && secret) {
        token = secret[1];
        resolve(address[1]);
      }
    };
    server.stdout.on("data", look);
    server.stderr.on("data", look);
    server.on("exit", () => reject(new Error(`the registry ended:\n${log}`)));
    setTimeout(() => reject(new Error(`the registry did not start:\n${log}`)), 60_000).unref();
  });
  options = { registry: `http://127.0.0.1:${port}`, namespace: "acme", model: "minilm" };
  const authority = join(root, "authority");
  assay("keygen", authority);
  options.identity = JSON.parse(assay("namespace", "create", "acme", "--authority", authority, "--json")).fingerprint;
  assay("publish", model, "acme/minilm@1.0.0", "--authority", authority);
});

after(() => {
  server?.kill("SIGKILL");
  rmSync(root, { recursive: true, force: true });
});

const stage = (verdict, name) => verdict.stages.find((report) => report.stage === name);

// A registry or a path to it that changes what it delivers.
function tampering(change) {
  return async (url, init) => {
    const response = await fetch(url, init);
    const bytes = new Uint8Array(await response.arrayBuffer());
    const body = response.status === 304 || response.status === 404 ? null : change(new URL(url), bytes) ?? bytes;
    return new Response(body, { status: response.status, headers: response.headers });
  };
}

test("verifies every byte of a release of the native publisher", async () => {
  const seen = [];
  const { verdict, manifest, registry } = await verifyRelease(wasm, { ...options, progress: (done, size) => seen.push([done, size]) });
  assert.equal(verdict.outcome, "permit", JSON.stringify(verdict, null, 1));
  for (const name of ["trust-root", "freshness", "release", "provenance", "content"]) {
    assert.equal(stage(verdict, name).outcome, "passed", name);
  }
  assert.equal(manifest.version, "1.0.0");
  assert.deepEqual(seen.at(-1), [5 * (1 << 20) + 3 + 2 + 4, 5 * (1 << 20) + 3 + 2 + 4]);
  assert.ok(registry.received > 5 << 20);
});

test("verifies files that lie on this machine", async () => {
  const present = files.map((path) => ({ path, size: statSync(join(model, path)).size }));
  const read = async (path, offset, len) => {
    const file = await open(join(model, path));
    const buffer = new Uint8Array(len);
    const { bytesRead } = await file.read(buffer, 0, len, offset);
    await file.close();
    return buffer.subarray(0, bytesRead);
  };
  const good = await verifyRelease(wasm, { ...options, files: { present, read } });
  assert.equal(good.verdict.outcome, "permit", JSON.stringify(good.verdict, null, 1));

  const flipped = async (path, offset, len) => {
    const bytes = await read(path, offset, len);
    if (path === "model.safetensors" && offset === 3 << 20) bytes[1000] ^= 1;
    return bytes;
  };
  const bad = await verifyRelease(wasm, { ...options, files: { present, read: flipped } });
  assert.equal(bad.verdict.outcome, "refuse");
  assert.equal(stage(bad.verdict, "content").code, "digest-mismatch");
  assert.match(stage(bad.verdict, "content").subject, /chunk 3 of model\.safetensors/);

  const extra = [...present, { path: "adapter.bin", size: 1 }];
  const more = await verifyRelease(wasm, { ...options, files: { present: extra, read } });
  assert.equal(stage(more.verdict, "content").code, "extraneous-file");
});

test("refuses content with one changed byte", async () => {
  const change = (url, bytes) => {
    if (url.pathname.includes("/blobs/") && bytes.length === 1 << 20) bytes[77] ^= 1;
  };
  const { verdict } = await verifyRelease(wasm, { ...options, fetch: tampering(change) });
  assert.equal(verdict.outcome, "refuse");
  assert.equal(stage(verdict, "content").outcome, "refused");
});

test("refuses a manifest with one changed byte", async () => {
  const change = (url, bytes) => {
    const text = new TextDecoder().decode(bytes);
    return new TextEncoder().encode(text.replaceAll('\\"version\\":\\"1.0.0\\"', '\\"version\\":\\"1.0.1\\"').replaceAll('"version":"1.0.0"', '"version":"1.0.1"'));
  };
  const { verdict } = await verifyRelease(wasm, { ...options, fetch: tampering(change) });
  assert.equal(verdict.outcome, "refuse");
  assert.equal(stage(verdict, "release").outcome, "refused", JSON.stringify(verdict, null, 1));
});

test("refuses metadata with one changed byte", async () => {
  const change = (url, bytes) => {
    const text = new TextDecoder().decode(bytes);
    return url.pathname.endsWith("/check") ? new TextEncoder().encode(text.replace(/\\"sig\\":\\"[0-9a-f]/, '\\"sig\\":\\"x')) : bytes;
  };
  const { verdict } = await verifyRelease(wasm, { ...options, fetch: tampering(change) });
  assert.equal(verdict.outcome, "refuse", JSON.stringify(verdict, null, 1));
});

test("refuses another namespace's root", async () => {
  const identity = "0".repeat(64);
  await assert.rejects(verifyRelease(wasm, { ...options, identity }), new RegExp(identity));
});

test("refuses a required stage that was skipped", async () => {
  const { verdict } = await verifyRelease(wasm, { ...options, require: ["screening"] });
  assert.equal(verdict.outcome, "refuse");
  assert.equal(stage(verdict, "screening").code, "required-stage-skipped");
});

test("refuses expired metadata and a clock before this software", async () => {
  for (const [now, code] of [["2099-01-01T00:00:00Z", "expired"], ["2001-01-01T00:00:00Z", undefined]]) {
    const { verdict } = await checkRelease(wasm, { ...options, now: new Date(now) });
    assert.equal(verdict.outcome, "refuse", now);
    if (code) assert.equal(verdict.stages.find((report) => report.outcome === "refused").code, code);
  }
});

test("a second check costs one small request", async () => {
  const store = new MemoryStore();
  const first = await checkRelease(wasm, { ...options, store });
  assert.equal(first.check.status(), "permitted");
  assert.ok(first.registry.requests <= 2, `${first.registry.requests} requests`);
  const again = await checkRelease(wasm, { ...options, store });
  assert.equal(again.check.status(), "permitted");
  assert.equal(again.registry.requests, 1);
  assert.ok(again.registry.received <= 1024, `${again.registry.received} bytes`);
});

test("walks the static TUF paths too", async () => {
  const { check, verdict } = await checkRelease(wasm, { ...options, route: "static" });
  assert.equal(check.status(), "permitted", JSON.stringify(verdict, null, 1));
});

test("judges documents without a network, and takes nothing by force", async () => {
  const get = async (path) => (await fetch(options.registry + path)).text();
  const documents = {
    root: await get("/tuf/acme/metadata/1.root.json"),
    bundle: await get("/v1/namespaces/acme/models/minilm/check?root=1"),
  };
  const good = verifyBundle(wasm, { ...options, ...documents });
  assert.equal(good.verdict.outcome, "permit", JSON.stringify(good.verdict, null, 1));
  const other = verifyBundle(wasm, { ...options, ...documents, model: "another" });
  assert.equal(other.verdict.outcome, "refuse");
  for (const bundle of ["", "{}", "[".repeat(100_000), documents.bundle.slice(0, -1), documents.bundle.replace('"v":1', '"v":2')]) {
    assert.equal(verifyBundle(wasm, { ...options, ...documents, bundle }).verdict.outcome, "refuse", bundle.slice(0, 20));
  }
});

test("says so when a call comes out of turn", () => {
  const identity = "0".repeat(64);
  assert.throws(() => new wasm.Check({ namespace: "../x", identity }, "{}", false, { model: "m" }, "now"), /namespace/);
  assert.throws(() => new wasm.Check({ namespace: "x", identity }, "{}", false, { model: "m" }, "2026-12-01T00:00:00Z"), /state/);
  assert.throws(() => new wasm.Check({ namespace: "x", identity, surprise: 1 }, "{}", false, { model: "m" }, "x"), /surprise/);
});

test("the module carries its types", () => {
  const types = readFileSync(new URL("../pkg/web/assay_wasm.d.ts", import.meta.url), "utf8");
  for (const name of ["class Check", "class Content", "answerFound", "poll"]) assert.ok(types.includes(name), name);
});
