/* Python for the exercises of a page, in a thread of its own. It hears { pyodide, packages }, two addresses, then
   { label, code }, an answer to run. It tells { step, steps, what } while it loads and { ready } then, { text } as it is
   printed, and { became } in the end, or { failed }. */
const STEPS = ["Python", "numpy and scipy", "the package of the book", "the checkers"];
const START = `
import sys
sys.path.append("/packages")
import answering, json
from rlhf_lab import check
with open("/packages/exercises.json") as file:
    exercises = json.load(file)
`;
let python;

async function there(address, options) {
  const answer = await fetch(address, options).catch(() => ({ status: "no answer" }));
  if (!answer.ok) throw new Error(`${address}: ${answer.status}`);
  return answer;
}

async function start({ pyodide, packages }) {
  const step = (k) => postMessage({ step: k, steps: STEPS.length, what: STEPS[k] });
  step(0);
  await there(`${pyodide}pyodide.asm.wasm`, { method: "HEAD" }); // without it, Pyodide would never say that it failed
  importScripts(`${pyodide}pyodide.js`);
  const [made, archive] = await Promise.all([loadPyodide({ indexURL: pyodide }), there(packages)]);
  step(1);
  await made.loadPackage(["numpy", "scipy"], { messageCallback: () => {} });
  step(2);
  made.unpackArchive(await archive.arrayBuffer(), "zip", { extractDir: "/packages" });
  step(3);
  made.runPython(START);
  postMessage({ ready: true });
  return made;
}

async function run({ label, code }) {
  const made = await python;
  made.globals.set("answer", code);
  made.globals.set("label", label);
  made.globals.set("write", (text) => postMessage({ text }));
  postMessage({ became: made.runPython("answering.run(*exercises[label], answer, write)") });
}

addEventListener("message", async ({ data }) => {
  try {
    if (data.pyodide) await (python = start(data));
    else await run(data);
  } catch (error) {
    const text = String(error.message ?? error); // of a traceback, the line that names the error
    postMessage({ failed: text.match(/^\w+Error: .*$/m)?.[0] ?? text });
  }
});
