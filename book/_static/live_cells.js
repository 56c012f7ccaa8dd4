/* Chapters that run on their page: Python runs the page's own cells, which then are editors, and what they print and draw
   takes the place of what stood there. Cells share names with each other and none with answers to exercises. */
(() => {
  const { made, obstacle } = Live;
  const STARTER = /^def \w+\(.*\):\n    return None|^check\.\w+\(/m; // it has an editor of its own, or waits for one
  const facts = document.querySelector("article p.facts");
  const cells = [...document.querySelectorAll("article div.cell")].flatMap((box) => {
    const pre = box.querySelector(".cell_input pre");
    const other = !pre || box.closest(".solution") || (box.closest(".exercise") && STARTER.test(pre.textContent));
    return other ? [] : [{ box, pre, code: pre.textContent, lit: pre.innerHTML, ran: false }];
  });
  if (!facts || !cells.length) return;

  /* The head of the page. */
  const head = made("div", "", { className: "live-bar live-page" });
  const all = Live.controls("Run this page", (text) => (all.note.textContent = text));
  const reset = made("button", "Reset", { type: "button", hidden: true });
  head.append(all.run, all.stop, reset, all.load, all.note);
  all.note.textContent = "Python loads once, about 50 MB.";
  facts.after(head);

  /* Under each cell, Run; the rest of its bar once it is used. */
  cells.forEach((cell, k) => {
    const bar = made("div", "", { className: "live-bar live-cell" });
    Object.assign(cell, Live.controls("Run", (text) => print(cell, text)));
    cell.run.ariaLabel = `Run code ${k + 1} of ${cells.length}`;
    bar.append(cell.run, cell.stop, cell.load, cell.note);
    cell.box.querySelector(":scope > details, :scope > .cell_input").after(bar);
    cell.run.onclick = () => work(k, k, cell);
  });
  all.run.onclick = () => {
    if (!Live.busy()) forget();
    work(0, cells.length - 1, all);
  };

  /* What a cell shows. Figures that were there are taken again, with their captions, for what is drawn now; `cell.before`
     is what a reset brings back. */
  const LOOK = ["src", "alt", "width", "height"];
  function clear(cell) {
    cell.output ??= cell.box.querySelector(":scope > .cell_output");
    if (!cell.output) {
      cell.output = made("div", "", { className: "cell_output docutils container" });
      cell.box.append(cell.output);
    }
    cell.before ??= { nodes: [...cell.output.childNodes], looks: [...cell.output.querySelectorAll("img")].map((picture) =>
      [picture, LOOK.map((name) => [name, picture.getAttribute(name)])]) };
    cell.figures = cell.before.nodes.filter((node) => node.nodeType === 1 && (node.matches("img") || node.querySelector("img")));
    drawn(cell);
    cell.output.style.minHeight = `${cell.output.offsetHeight}px`; // what is below stays where it is
    cell.output.replaceChildren();
    cell.output.classList.add("live-output");
  }
  function drawn({ before }) {
    for (const [picture, look] of before.looks)
      for (const [name, value] of look) value === null ? picture.removeAttribute(name) : picture.setAttribute(name, value);
  }
  function restore(cell) {
    drawn(cell);
    cell.output.replaceChildren(...cell.before.nodes);
    cell.output.classList.remove("live-output");
    cell.before = undefined;
  }
  function print(cell, text) {
    let last = cell.output.lastElementChild;
    if (!last?.matches(".stream")) {
      last = made("div", "", { className: "output stream highlight-myst-ansi notranslate" });
      const lit = made("div", "", { className: "highlight" });
      lit.append(made("pre"));
      last.append(lit);
      cell.output.append(last);
    }
    last.querySelector("pre").append(text);
  }
  function show(cell, { text, html, figure }) {
    if (text) print(cell, text);
    if (html) cell.output.append(made("div", "", { className: "output text_html", innerHTML: html }));
    if (!figure) return;
    const place = cell.figures.shift() ?? made("img");
    const picture = place.matches("img") ? place : place.querySelector("img"); // with the words of the book on it
    if (!picture.alt || cell.pre.textContent !== cell.code) picture.alt = "What this code draws";
    for (const size of ["width", "height"]) picture.removeAttribute(size);
    picture.src = `data:image/png;base64,${figure}`;
    cell.output.append(place);
  }

  /* Code becomes an editor as the reader comes near; the cell below it keeps the text, for paper and for the run. */
  const near = new IntersectionObserver((entries) => {
    for (const { target } of entries.filter((entry) => entry.isIntersecting)) {
      near.unobserve(target);
      edit(cells.find(({ pre }) => pre === target));
    }
  }, { rootMargin: "600px" });
  function edit(cell) {
    const place = made("div", "", { className: "live-editor" });
    const changed = (text) => {
      cell.pre.textContent = text;
      cell.ran = false;
    };
    cell.editor = LiveEditor.editor(place, cell.pre.textContent, cell.run.ariaLabel.replace("Run c", "C"), changed, () => cell.run.click());
    const block = cell.pre.closest(".cell_input > *");
    place.querySelector(".cm-content").tabIndex = 0; // it can be reached without, but not every checker knows
    block.classList.add("live-replaced");
    block.after(place);
  }

  const forget = () => { for (const cell of cells) cell.ran = false; };
  Live.whenEnded(forget);

  /* Run the cells from `first` to `last`, after those before them that have not run. */
  async function work(first, last, { run, note, ask }) {
    note.textContent = "";
    await Live.needed();
    const missing = obstacle();
    if (missing) return (note.textContent = missing);
    if (Live.busy()) return (note.textContent = "Python is busy elsewhere on this page.");
    if (reset.hidden) for (const { pre } of cells) near.observe(pre);
    reset.hidden = false;
    const todo = cells.filter((cell, k) => k <= last && (k >= first || !cell.ran));
    for (const [k, cell] of todo.entries()) {
      clear(cell);
      cell.box.classList.add("live-now");
      const question = { cell: cell.pre.textContent, forget: !cells.some((one) => one.ran) };
      const became = await ask(question, (data) => show(cell, data), todo.length > 1 ? `Running ${k + 1} of ${todo.length} …` : "Running …");
      cell.box.classList.remove("live-now");
      cell.output.style.minHeight = "";
      stopWhereItScrolls();
      cell.ran = became === true;
      if (became === undefined) return;
      if (!became) return (note.textContent = cell.run === run ? "" : `It stopped at code ${cells.indexOf(cell) + 1}, with what is told there.`);
    }
    note.textContent = todo.length > 1 ? `Ran ${todo.length} pieces of code. All can be edited.` : "";
  }

  reset.onclick = () => {
    if (Live.busy()) return (all.note.textContent = "Python is busy elsewhere on this page.");
    for (const cell of cells) {
      if (cell.before) restore(cell);
      if (cell.pre.textContent !== cell.code) cell.editor.replace(cell.code);
      cell.pre.innerHTML = cell.lit;
      cell.note.textContent = "";
    }
    forget();
    all.note.textContent = "The page is as it was.";
  };
})();
