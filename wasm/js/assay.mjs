// Drives the verifier with fetch and crypto.subtle. The module decides; this file only fetches, hashes and remembers.
//
//   import init, * as wasm from "../pkg/web/assay_wasm.js";
//   await init();
//   const { verdict } = await verifyRelease(wasm, { registry, namespace, identity, model });
//
// A page that wants floors to survive passes `store`: an object with async get(key) and set(key, text).

/** Where a resource stands on a registry. */
export function resourcePath(namespace, resource) {
  const escaped = (text) => text.split("/").map(encodeURIComponent).join("/");
  switch (resource.kind) {
    case "bundle": {
      const version = resource.version ? `&version=${encodeURIComponent(resource.version)}` : "";
      const known = resource.log === null || resource.log === undefined ? "" : `&log=${resource.log}`;
      const have = resource.have ? `&have=${encodeURIComponent(resource.have)}` : "";
      return `/v1/namespaces/${namespace}/models/${resource.model}/check?root=${resource.root}${version}${known}${have}`;
    }
    case "metadata":
      return `/tuf/${namespace}/metadata/${escaped(resource.file)}`;
    case "target":
      return `/tuf/${namespace}/targets/${escaped(resource.path)}`;
    case "blob":
      return `/v1/namespaces/${namespace}/blobs/${resource.sha256}`;
    case "log-proof":
    case "root-proof": {
      const known = resource.size === null || resource.size === undefined ? "" : `&log=${resource.size}`;
      const of = resource.kind === "root-proof" ? `root=${resource.root}` : `snapshot=${resource.snapshot}`;
      return `/v1/namespaces/${namespace}/log-proof?${of}${known}`;
    }
    default:
      throw new Error(`expected a resource that this driver knows, found ${resource.kind}`);
  }
}

// Reads a body of at most `max` bytes; one more ends the connection.
async function readBounded(response, max) {
  const parts = [];
  let length = 0;
  const reader = response.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    length += value.length;
    if (length > max) {
      await reader.cancel();
      throw new Error(`expected at most ${max} bytes, found more`);
    }
    parts.push(value);
  }
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** Fetches like a device: counts requests and bytes, honours `max`, never follows a redirect to another site. */
export class Registry {
  constructor(address, { token, fetch: fetcher = globalThis.fetch, timeout = 30_000 } = {}) {
    this.address = address.replace(/\/+$/, "");
    this.token = token;
    this.fetcher = fetcher;
    this.timeout = timeout;
    this.requests = 0;
    this.received = 0;
  }

  async get(path, { max, etag, range } = {}) {
    const headers = {};
    if (this.token) headers.authorization = `Bearer ${this.token}`;
    if (etag) headers["if-none-match"] = etag;
    if (range) headers.range = `bytes=${range.offset}-${range.offset + range.len - 1}`;
    this.requests += 1;
    const fetcher = this.fetcher;
    const response = await fetcher(this.address + path, {
      headers,
      cache: "no-store",
      redirect: "error",
      signal: AbortSignal.timeout(this.timeout),
    });
    const empty = response.status === 304 || response.status === 404;
    const bytes = empty ? new Uint8Array() : await readBounded(response, max);
    this.received += bytes.length;
    return { status: response.status, bytes, etag: response.headers.get("etag") ?? undefined };
  }

  /** Bytes `offset` to `offset + len` of a blob. */
  async range(namespace, sha256, offset, len) {
    const path = resourcePath(namespace, { kind: "blob", sha256 });
    const { status, bytes } = await this.get(path, { max: len, range: { offset, len } });
    if (status !== 206 && status !== 200) throw new Error(`expected 206, found ${status} for ${path}`);
    return bytes;
  }
}

async function sha256(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function answerFetch(check, registry, namespace) {
  const { resource, max, etag } = check.wanted();
  let found;
  try {
    found = await registry.get(resourcePath(namespace, resource), { max, etag });
  } catch (error) {
    return check.answerFailed(String(error?.message ?? error));
  }
  if (found.status === 200) check.answerFound(found.bytes, found.etag);
  else if (found.status === 304) check.answerNotModified();
  else if (found.status === 404) check.answerMissing();
  else check.answerFailed(`the registry answered ${found.status}`);
}

/** Forgets everything when the page closes. */
export class MemoryStore {
  #entries = new Map();
  async get(key) {
    return this.#entries.get(key);
  }
  async set(key, text) {
    this.#entries.set(key, text);
  }
}

/**
 * Stages 1 to 6: is there a release of this model that may be used?
 * Ends with `check.status()` "permitted", "refused" or "deferred".
 */
export async function checkRelease(wasm, options) {
  const { namespace, identity, model, version, route, require, firstUse = false } = options;
  const registry = options.registry instanceof Registry ? options.registry : new Registry(options.registry, options);
  const store = options.store ?? new MemoryStore();
  const key = `assay/${identity}/state`;
  const cacheKey = `assay/${identity}/${model}/cache`;
  let state = await store.get(key);
  const first = state === undefined;
  if (first) {
    // Whatever is served here, only the root that has the pinned digest is taken.
    const root = await registry.get(resourcePath(namespace, { kind: "metadata", file: "1.root.json" }), { max: 1 << 19 });
    if (root.status !== 200) throw new Error(`expected 1.root.json of ${namespace}, found status ${root.status}`);
    state = new TextDecoder().decode(root.bytes);
  }
  const cached = await store.get(cacheKey);
  const request = { model, version, route, require, cached: cached ? JSON.parse(cached) : undefined };
  const now = (options.now ?? new Date()).toISOString();
  const check = new wasm.Check({ namespace, identity, first_use: firstUse }, state, first, request, now);
  for (;;) {
    const status = check.status();
    if (status === "fetch") {
      await answerFetch(check, registry, namespace);
    } else if (status === "persist") {
      await store.set(key, check.state());
      check.persisted();
    } else {
      if (status === "permitted") {
        const cache = check.cache();
        if (cache) await store.set(cacheKey, JSON.stringify(cache));
      }
      return { check, registry, store, verdict: check.verdict() };
    }
  }
}

// Pieces that are read and hashed at once.
const PARALLEL = 4;

/**
 * Runs a content machine to its verdict. `readIndex({sha256, size})` and `read(piece)` give bytes; `read` gives `undefined` where
 * there are none.
 */
export async function driveContent(content, { readIndex, read, progress = () => {} }) {
  const busy = new Set();
  const attempt = async (work, file, pieces) => {
    try {
      await work();
    } catch (error) {
      content.handle({ kind: "failed", file, pieces, reason: String(error?.message ?? error), retry: true });
    }
    progress(content.done(), content.size());
  };
  const act = (action) => {
    const { kind, ...piece } = action;
    switch (kind) {
      case "read-index":
        return attempt(async () => content.index(action.file, await readIndex(action)), action.file, []);
      case "hash-local":
        return attempt(
          async () => {
            const bytes = await read(piece);
            if (bytes === undefined || bytes.length !== piece.len) content.handle({ kind: "absent", ...piece });
            else content.handle({ kind: "hashed", piece, sha256: await sha256(bytes) });
          },
          piece.file,
          [piece],
        );
      default:
        throw new Error(`expected an action of a verification, found ${kind}`);
    }
  };
  for (;;) {
    const action = busy.size < PARALLEL ? content.poll() : undefined;
    if (action?.kind === "finish") return content.verdict();
    if (action === undefined) {
      if (busy.size === 0) throw new Error("the verifier waits for something that was not asked for");
      await Promise.race(busy);
      continue;
    }
    const task = act(action).finally(() => busy.delete(task));
    busy.add(task);
  }
}

/**
 * All stages: checks, then hashes every byte of every file with crypto.subtle.
 *
 * `files: { present: [{path, size}], read(path, offset, len) }` are what is judged, such as files that a person dropped on the
 * page; without it the registry's own copies are.
 */
export async function verifyRelease(wasm, options) {
  const found = await checkRelease(wasm, options);
  const { check, registry } = found;
  if (check.status() !== "permitted") return found;
  const manifest = check.manifest();
  const present = options.files?.present ?? manifest.files.map(({ path, size }) => ({ path, size }));
  const content = check.content(present);
  const blob = (sha256, offset, len) => registry.range(options.namespace, sha256, offset, len);
  const verdict = await driveContent(content, {
    readIndex: ({ sha256, size }) => blob(sha256, 0, size),
    read: ({ file, offset, len }) => {
      const { path, sha256 } = manifest.files[file];
      return options.files ? options.files.read(path, offset, len) : blob(sha256, offset, len);
    },
    progress: options.progress,
  });
  content.free();
  return { ...found, manifest, verdict };
}

/**
 * The same from documents alone, without a network: is this bundle of this namespace, and what does it permit?
 * `root` is the text of 1.root.json, `bundle` that of a check bundle.
 */
export function verifyBundle(wasm, { namespace, identity, model, version, require, root, bundle, now = new Date() }) {
  const request = { model, version, require };
  const check = new wasm.Check({ namespace, identity }, root, true, request, now.toISOString());
  for (;;) {
    switch (check.status()) {
      case "fetch":
        if (check.wanted().resource.kind === "bundle") check.answerFound(new TextEncoder().encode(bundle));
        else check.answerMissing();
        break;
      case "persist":
        check.persisted();
        break;
      default:
        return { check, verdict: check.verdict() };
    }
  }
}
