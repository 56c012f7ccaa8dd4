/* Python for a page, in a thread of its own. It hears { pyodide, packages, chapters }, three addresses; then
   { label, code }, an answer to run, or { cell: code }, to run in names that all cells share; { forget } empties them.
   It tells { step, steps, what } while it loads and { ready } then, { text }, { html } and { figure } as they come, and
   in the end { became }, of a cell true or false, or { failed }. */
const START = `
import sys
sys.path.append("/packages")
import lacking
lacking.mend()
import answering, json
from rlhf_lab import check
with open("/packages/exercises.json") as file:
    exercises = json.load(file)
`;
const quiet = { messageCallback: () => {} };
let addresses, python, page;

async function there(address, options) {
  const answer = await fetch(address, options).catch(() => ({ status: "no answer" }));
  if (!answer.ok) throw new Error(`${address}: ${answer.status}`);
  return answer;
}

async function unpack(made, archive) {
  made.unpackArchive(await (await archive).arrayBuffer(), "zip", { extractDir: "/packages" });
}

/* Take steps, each told before it is taken. */
async function through(steps) {
  for (const [step, [what, take]] of steps.entries()) {
    postMessage({ step, steps: steps.length, what });
    await take();
  }
  postMessage({ ready: true });
}

async function start() {
  const { pyodide, packages } = addresses;
  let made, archive;
  await through([
    ["Python", async () => {
      await there(`${pyodide}pyodide.asm.wasm`, { method: "HEAD" }); // without it, Pyodide would never say that it failed
      importScripts(`${pyodide}pyodide.js`);
      [made, archive] = await Promise.all([loadPyodide({ indexURL: pyodide }), there(packages)]);
    }],
    ["numpy and scipy", () => made.loadPackage(["numpy", "scipy"], quiet)],
    ["the package of the book", () => unpack(made, archive)],
    ["the checkers", () => made.runPython(START)],
  ]);
  return made;
}

/* What cells need and answers do not. */
async function open(made) {
  const archive = there(addresses.chapters);
  await through([
    ["matplotlib", () => made.loadPackage("matplotlib", quiet)],
    ["what chapters read", () => unpack(made, archive)],
    ["the figures", () => made.runPython("import cells")],
  ]);
}

async function run({ label, cell, code, forget }) {
  const made = await python;
  if (label) {
    made.globals.set("answer", code);
    made.globals.set("label", label);
    made.globals.set("write", (text) => postMessage({ text }));
    postMessage({ became: made.runPython("answering.run(*exercises[label], answer, write)") });
    return;
  }
  await (page ??= open(made));
  if (forget) {
    made.globals.set("show", (kind, what) => postMessage({ [kind]: what }));
    made.runPython("page = cells.Page(show)");
  }
  made.globals.set("cell", cell);
  postMessage({ became: made.runPython("page.run(cell)") });
}

addEventListener("message", async ({ data }) => {
  try {
    if (data.pyodide) {
      addresses = data;
      await (python = start());
    } else await run(data);
  } catch (error) {
    const text = String(error.message ?? error); // of a traceback, the line that names the error
    postMessage({ failed: text.match(/^\w+Error: .*$/m)?.[0] ?? text });
  }
});
