/* Exercises that answer on the page. Where a cell ends in a call of a checker, an editor takes its place as the reader
   comes near, and Python runs what is written there. Without this script the cell stays a cell. */
(() => {
  const { made, obstacle } = Live;
  const CALL = /^check\.(\w+)\(/m;
  const code = (cell) => cell.querySelector("pre").textContent.trimEnd();

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

  /* The index of all exercises marks those that are answered. */
  for (const link of document.querySelectorAll(".exercise-index a[href*='#ex-']"))
    if (kept(link.hash.slice(1)).right) link.after(made("span", " ✓ answered", { className: "live-mark" }));

  const boxes = [...document.querySelectorAll("article .exercise")].flatMap((box) => {
    const cell = [...box.querySelectorAll(".cell")].findLast((one) => CALL.test(one.querySelector("pre").textContent));
    if (!cell) return [];
    const number = box.querySelector(".caption-number").textContent.trim();
    const solution = [...document.querySelectorAll("article .solution details")].find((details) =>
      details.querySelector("summary").textContent.trim().startsWith(`Solution to ${number} `));
    return [{ label: box.id, title: box.querySelector(".admonition-title"), cell, number, solution, starter: code(cell) }];
  });

  /* The front page invites to an exercise of a chapter: its editor opens on demand, with the try that stands above. */
  const invited = [...document.querySelectorAll("article .try")].map((box) => {
    const number = box.querySelector("a[href*='#ex-']");
    const button = made("button", "Try it here", { type: "button" });
    const invitation = { label: number.hash.slice(1), title: box, number: number.textContent, starter: code(box.previousElementSibling) };
    button.onclick = async () => {
      button.remove();
      (await open({ ...invitation, cell: box })).focus();
    };
    box.append(button);
    return invitation;
  });

  const exercises = [...boxes, ...invited];
  if (!exercises.length) return;

  /* The line under the title of the chapter says how many are answered; each title of an exercise that is, too. */
  const progress = made("span", "", { className: "live-progress" });
  for (const exercise of exercises) {
    exercise.mark = made("span", "✓ answered", { className: "live-mark", hidden: true });
    exercise.title.append(exercise.mark);
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
    await Live.needed();
    const live = made("div", "", { className: "live" });
    const place = made("div", "", { className: "live-editor" });
    const bar = made("div", "", { className: "live-bar" });
    const said = made("pre", "", { className: "live-said", hidden: true, tabIndex: 0 }); // long texts scroll
    said.setAttribute("role", "log");
    const tell = (text) => {
      said.hidden = false;
      said.append(text);
    };
    const { run, stop, load, note, ask } = Live.controls("Run", tell);
    const reset = made("button", "Reset", { type: "button" });
    run.title = "Ctrl+Enter";
    note.textContent = "np, check and what the chapter imports are there.";
    bar.append(run, stop, reset, load, note);
    live.append(place, bar, said);
    const held = solution ? hold(exercise) : () => {};

    const changed = (code) => {
      keep(label, { code });
      if (!keeps) note.textContent = "Your browser keeps nothing for this page: copy what you want to keep.";
    };
    const go = () => { if (!run.disabled) attempt(); };
    const editor = LiveEditor.editor(place, kept(label).code ?? starter, `Your answer to ${number}`, changed, go);
    if (cell.matches(".cell")) cell.classList.add("live-replaced");
    cell.after(live);

    async function attempt() {
      said.textContent = note.textContent = "";
      said.hidden = true;
      const missing = obstacle();
      if (missing) return tell(missing);
      if (Live.busy()) return (note.textContent = "Python is busy elsewhere on this page.");
      keep(label, { code: editor.text(), tried: true });
      held();
      const became = await ask({ label, code: editor.text() }, ({ text }) => tell(text));
      if (became === "right") keep(label, { right: true });
      if (became === "unchecked")
        tell(`Nothing was checked: the last line is to be ${starter.split("\n").findLast((line) => CALL.test(line))}`);
      count();
    }

    run.onclick = attempt;
    reset.onclick = () => {
      editor.replace(starter);
      said.textContent = "";
      said.hidden = true;
      keep(label, { code: undefined });
      note.textContent = "The starter again. Ctrl+Z in the editor brings yours back.";
    };
    return place.querySelector(".cm-content");
  }

  const near = new IntersectionObserver((entries) => {
    for (const { target } of entries.filter((entry) => entry.isIntersecting)) {
      near.unobserve(target);
      open(boxes.find(({ cell }) => cell === target));
    }
  }, { rootMargin: "600px" });
  for (const { cell } of boxes) near.observe(cell);
})();
