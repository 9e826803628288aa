// Times the whole check of a release in WebAssembly under Node, with the answers that `check_offline` recorded.
//
//   node bench/offline.mjs DUMP ROUNDS
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const wasm = createRequire(import.meta.url)("../wasm/pkg/node/assay_wasm.js");
const { pin, state, request, now, answers } = JSON.parse(readFileSync(process.argv[2], "utf8"));
const bytes = answers.map((answer) => (answer ? new TextEncoder().encode(answer.text) : null));

function walk() {
  const check = new wasm.Check(pin, state, false, request, now);
  let next = 0;
  for (;;) {
    const status = check.status();
    if (status === "fetch") {
      const at = next++;
      if (bytes[at]) check.answerFound(bytes[at], answers[at].etag ?? undefined);
      else check.answerMissing();
    } else if (status === "persist") check.persisted();
    else if (status === "permitted") return check.free();
    else throw new Error(`expected a permitted release, found ${JSON.stringify(check.verdict())}`);
  }
}

const times = [];
for (let round = 0; round < Number(process.argv[3]); round++) {
  const began = process.hrtime.bigint();
  walk();
  times.push(Number(process.hrtime.bigint() - began) / 1000);
}
times.sort((a, b) => a - b);
console.log(JSON.stringify({ median_us: Math.round(times[Math.floor(times.length / 2)]) }));
