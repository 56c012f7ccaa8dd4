/* Python for what runs on a page: a worker, loaded at the first run, and the controls of it. What is needed for that
   stands in live/ beside the pages; live/settings.js says where Python comes from. */
const Live = (() => {
  const root = new URL(document.documentElement.dataset.content_root ?? "./", location.href).href;
  const LOCALLY = "In a clone of the book, make lab opens the chapters in JupyterLab, with checkers that run there.";
  const SLOW = 10_000; // milliseconds after which a run is called long

  const made = (tag, text = "", attributes = {}) => Object.assign(document.createElement(tag), { textContent: text }, attributes);

  const scripts = new Map();
  const script = (name) => {
    if (!scripts.has(name))
      scripts.set(name, new Promise((onload, onerror) => {
        document.head.append(made("script", "", { src: root + name, onload, onerror }));
      }));
    return scripts.get(name);
  };

  /* An editor in place of a cell's code, and where Python comes from. */
  const needed = () => Promise.all([script("_static/codemirror.js"), script("live/settings.js").catch(() => {})]);

  /* Why nothing can run here, in words, or nothing. */
  const obstacle = () => {
    if (!window.LIVE?.pyodide) return `This copy of the book has no Python in it. ${LOCALLY}`;
    if (location.protocol === "file:")
      return `Browsers run no Python on pages that are opened as files. make serve shows the book at an address. ${LOCALLY}`;
    if (typeof Worker !== "function" || typeof WebAssembly !== "object")
      return `This browser has no WebAssembly, which Python needs. Try another browser. ${LOCALLY}`;
  };

  /* One worker for the page, which answers one question at a time: `heard` is told what it says. */
  let worker, loaded, heard;
  const ended = []; // what is to be done when all that Python knew is gone
  const start = () => {
    const address = (name) => new URL(name, root).href;
    loaded = false;
    worker = new Worker(address("_static/live_worker.js"));
    worker.onmessage = ({ data }) => {
      loaded ||= "ready" in data;
      heard?.(data);
    };
    worker.onerror = (event) => {
      event.preventDefault();
      heard?.({ failed: event.message ?? "the worker did not start" });
    };
    const { pyodide, packages, chapters } = LIVE;
    worker.postMessage({ pyodide: address(pyodide), packages: address(packages), chapters: address(chapters) });
  };
  const end = () => {
    worker?.terminate();
    worker = undefined;
    for (const then of ended) then();
  };

  /* The buttons Run and Stop, and what is told of a run. `ask` puts a question to Python, hands what it says to `hear`,
     and returns what became of it; nothing if it was stopped. What is wrong goes to `tell`. */
  const controls = (title, tell) => {
    const run = made("button", title, { type: "button", className: "live-run" });
    const stop = made("button", "Stop", { type: "button", hidden: true });
    const load = made("progress", "", { hidden: true, ariaLabel: "Loading Python" });
    const note = made("span", "", { className: "live-note" });
    note.setAttribute("role", "status");

    const ask = (question, hear, doing = "Running …") => new Promise((resolve) => {
      run.disabled = true;
      stop.hidden = false;
      let long;
      const finish = (became) => {
        clearTimeout(long);
        heard = undefined;
        run.disabled = false;
        stop.hidden = load.hidden = true;
        resolve(became);
      };
      const running = () => {
        clearTimeout(long);
        load.hidden = true;
        note.textContent = doing;
        long = setTimeout(() => { note.textContent = `${doing.replace(/ …$/, "")}: still at it. Stop ends it.`; }, SLOW);
      };
      heard = (data) => {
        if ("step" in data) {
          clearTimeout(long);
          load.hidden = false;
          Object.assign(load, { max: data.steps, value: data.step + 0.5 });
          note.textContent = `Loading ${data.what}; once for this page.`;
        } else if ("ready" in data) running();
        else if ("became" in data) {
          note.textContent = "";
          finish(data.became);
        } else if ("failed" in data) {
          end();
          note.textContent = "";
          tell(`Python could not go on: ${data.failed}\nIt starts anew with the next run. ${LOCALLY}`);
          finish();
        } else hear(data);
      };
      stop.onclick = () => {
        end();
        start();
        note.textContent = "Stopped. Python starts anew.";
        run.focus();
        finish();
      };
      if (!worker) start();
      else if (loaded) running();
      worker.postMessage(question);
    });
    return { run, stop, load, note, ask };
  };

  return { LOCALLY, made, script, needed, obstacle, controls, busy: () => Boolean(heard), whenEnded: (then) => ended.push(then) };
})();
