/* Exercises that answer on the page. Where a cell ends in a call of a checker, an editor takes its place as the reader
   comes near, and Python runs what is written there: in a worker, loaded at the first run. What is needed for that stands
   in live/ beside the pages; live/settings.js says where Python comes from. Without this script the cell stays a cell. */
(() => {
  const root = new URL(document.documentElement.dataset.content_root ?? "./", location.href).href;
  const CALL = /^check\.(\w+)\(/m;
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

  /* What the browser keeps of an exercise: { code, tried, right }. Where it keeps nothing, the page does while it is open. */
  const works = new Map();
  let keeps = true;
  const kept = (label) => {
    if (!works.has(label))
      try {
        works.set(label, JSON.parse(localStorage.getItem(`answer to ${label}`)) ?? {});
      } catch {
        works.set(label, {});
      }
    return works.get(label);
  };
  const keep = (label, work) => {
    works.set(label, { ...kept(label), ...work });
    try {
      localStorage.setItem(`answer to ${label}`, JSON.stringify(works.get(label)));
    } catch {
      keeps = false;
    }
  };

  /* Why nothing can run here, in words, or nothing. */
  const obstacle = () => {
    if (!window.LIVE?.pyodide) return `This copy of the book has no Python in it. ${LOCALLY}`;
    if (location.protocol === "file:")
      return `Browsers run no Python on pages that are opened as files. make serve shows the book at an address. ${LOCALLY}`;
    if (typeof Worker !== "function" || typeof WebAssembly !== "object")
      return `This browser has no WebAssembly, which Python needs. Try another browser. ${LOCALLY}`;
  };

  /* One worker for the page; `heard` is told what it says. */
  let worker, loaded, heard;
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
    worker.postMessage({ pyodide: address(LIVE.pyodide), packages: address(LIVE.packages) });
  };
  const end = () => {
    worker?.terminate();
    worker = undefined;
  };

  /* The index of all exercises marks those that are answered. */
  for (const link of document.querySelectorAll(".exercise-index a[href*='#ex-']"))
    if (kept(link.hash.slice(1)).right) link.after(made("span", " ✓ answered", { className: "live-mark" }));

  const exercises = [...document.querySelectorAll("article .exercise")].flatMap((box) => {
    const cell = [...box.querySelectorAll(".cell")].findLast((one) => CALL.test(one.querySelector("pre").textContent));
    if (!cell) return [];
    const number = box.querySelector(".caption-number").textContent.trim();
    const solution = [...document.querySelectorAll("article .solution details")].find((details) =>
      details.querySelector("summary").textContent.trim().startsWith(`Solution to ${number} `));
    return [{ label: box.id, box, cell, number, solution, starter: cell.querySelector("pre").textContent.trimEnd() }];
  });
  if (!exercises.length) return;

  /* The line under the title of the chapter says how many are answered; each title of an exercise that is, too. */
  const progress = made("span", "", { className: "live-progress" });
  for (const exercise of exercises) {
    exercise.mark = made("span", "✓ answered", { className: "live-mark", hidden: true });
    exercise.box.querySelector(".admonition-title").append(exercise.mark);
  }
  const count = () => {
    for (const { label, mark } of exercises) mark.hidden = !kept(label).right;
    const right = exercises.filter(({ mark }) => !mark.hidden);
    progress.textContent = ` · ${right.length} of ${exercises.length} code exercises answered here`;
  };
  document.querySelector("article p.facts")?.append(progress);
  count();

  /* The solution waits for a first try, or for a reader who asks twice. */
  const hold = ({ label, solution }) => {
    const note = made("p", "The solution opens after your first run. ", { className: "live-wait", hidden: true });
    const anyway = made("button", "Show it now", { type: "button" });
    anyway.onclick = () => {
      keep(label, { tried: true });
      note.hidden = true;
      solution.open = true;
      solution.querySelector("summary").focus();
    };
    note.append(anyway);
    solution.before(note);
    solution.querySelector("summary").addEventListener("click", (event) => {
      if (obstacle() || kept(label).tried) return;
      event.preventDefault();
      note.hidden = false;
    });
    return () => { note.hidden = true; };
  };

  async function open(exercise) {
    const { label, cell, number, starter, solution } = exercise;
    await Promise.all([script("_static/codemirror.js"), script("live/settings.js").catch(() => {})]);
    const live = made("div", "", { className: "live" });
    const place = made("div", "", { className: "live-editor" });
    const bar = made("div", "", { className: "live-bar" });
    const run = made("button", "Run", { type: "button", className: "live-run", title: "Ctrl+Enter" });
    const stop = made("button", "Stop", { type: "button", hidden: true });
    const reset = made("button", "Reset", { type: "button" });
    const load = made("progress", "", { hidden: true, ariaLabel: "Loading Python" });
    const note = made("span", "np, check and what the chapter imports are there.", { className: "live-note" });
    const said = made("pre", "", { className: "live-said", hidden: true, tabIndex: 0 }); // long texts scroll
    note.setAttribute("role", "status");
    said.setAttribute("role", "log");
    bar.append(run, stop, reset, load, note);
    live.append(place, bar, said);
    const held = solution ? hold(exercise) : () => {};

    const changed = (code) => {
      keep(label, { code });
      if (!keeps) note.textContent = "Your browser keeps nothing for this page: copy what you want to keep.";
    };
    const go = () => { if (!run.disabled) attempt(); };
    const editor = LiveEditor.editor(place, kept(label).code ?? starter, `Your answer to ${number}`, changed, go);
    cell.classList.add("live-replaced");
    cell.after(live);

    const tell = (text) => {
      said.hidden = false;
      said.append(text);
    };

    function attempt() {
      said.textContent = note.textContent = "";
      said.hidden = true;
      const missing = obstacle();
      if (missing) return tell(missing);
      if (heard) return (note.textContent = "Python is busy with another exercise.");
      keep(label, { code: editor.text(), tried: true });
      held();
      run.disabled = true;
      stop.hidden = false;
      let long;
      const finish = () => {
        clearTimeout(long);
        heard = undefined;
        run.disabled = false;
        stop.hidden = load.hidden = true;
      };
      const running = () => {
        load.hidden = true;
        note.textContent = "Running …";
        long = setTimeout(() => { note.textContent = "Still running. Stop ends it."; }, SLOW);
      };
      heard = (data) => {
        if ("text" in data) tell(data.text);
        if ("step" in data) {
          load.hidden = false;
          Object.assign(load, { max: data.steps, value: data.step + 0.5 });
          note.textContent = `Loading ${data.what}; once for this page.`;
        }
        if ("ready" in data) running();
        if ("became" in data) {
          finish();
          note.textContent = "";
          if (data.became === "right") keep(label, { right: true });
          if (data.became === "unchecked")
            tell(`Nothing was checked: the last line is to be ${starter.split("\n").findLast((line) => CALL.test(line))}`);
          count();
        }
        if ("failed" in data) {
          finish();
          end();
          note.textContent = "";
          tell(`Python could not go on: ${data.failed}\nIt starts anew with the next run. ${LOCALLY}`);
        }
      };
      stop.onclick = () => {
        finish();
        end();
        start();
        note.textContent = "Stopped. Python starts anew.";
        run.focus();
      };
      if (!worker) start();
      else if (loaded) running();
      worker.postMessage({ label, code: editor.text() });
    }

    run.onclick = attempt;
    reset.onclick = () => {
      editor.replace(starter);
      said.textContent = "";
      said.hidden = true;
      keep(label, { code: undefined });
      note.textContent = "The starter again. Ctrl+Z in the editor brings yours back.";
    };
  }

  const near = new IntersectionObserver((entries) => {
    for (const { target } of entries.filter((entry) => entry.isIntersecting)) {
      near.unobserve(target);
      open(exercises.find(({ cell }) => cell === target));
    }
  }, { rootMargin: "600px" });
  for (const { cell } of exercises) near.observe(cell);
})();
