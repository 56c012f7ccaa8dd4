/* Predict, then reveal: the reader draws a line, by pointer or with a slider for each point, and then sees the true one.
   While the box is open and nothing is revealed, the figure that shows it is veiled. */
draw.start("predict", (box, { figure, names, ends, asked, truth, given, more }) => {
  const { make, fixed, button } = draw;
  const STEPS = 100, [low, high] = ends.y;
  const value = (k) => low + ((high - low) * k) / STEPS;
  const nearest = (y) => Math.min(STEPS, Math.max(0, Math.round(((y - low) / (high - low)) * STEPS)));
  let drawn, revealed, focused = 0, at;

  /* A slider for each point but the first, which is given. They are seen as dots in the plot. */
  const digits = high - low > 2 ? 1 : 2;
  const handles = asked.x.map((x, k) => k > 0 && make("input", {
    type: "range", min: 0, max: STEPS, "aria-label": `${names[1]} at ${x} (${names[0]})`,
    oninput: (event) => set(k, value(Number(event.target.value))),
    onfocus: () => { focused = k; plot.redraw(); }, onblur: () => { focused = 0; plot.redraw(); },
  }));
  const reveal = button("show what happens", () => { revealed = true; show(); });
  const again = button("draw again", () => { begin(); show(); });

  /* Names at the right ends of lines, above them, and so far apart that each can be read. */
  const right = ends.x[1] - 0.02 * (ends.x[1] - ends.x[0]);
  function labels(lines) {
    const placed = lines.map((line) => {
      const after = Math.max(1, line.x.findIndex((x) => x >= right)), [x0, x1] = [line.x[after - 1], line.x[after]];
      const y = line.y[after - 1] + ((line.y[after] - line.y[after - 1]) * (right - x0)) / (x1 - x0);
      return { line, y: Math.max(14, at.y(Math.min(Math.max(y, low), high)) - 8) };
    });
    placed.sort((one, other) => one.y - other.y);
    placed.forEach((one, k) => k > 0 && (one.y = Math.max(one.y, placed[k - 1].y + 15)));
    return placed.map(({ line, y }) =>
      make("text", { x: at.x(right).toFixed(1), y: y.toFixed(1), class: "halo end", style: `fill:var(${line.colour})` }, line.name));
  }
  const stroke = (line, look) => {
    const drawing = draw.line(at, line.x.map((x, k) => [x, line.y[k]]), look);
    drawing.style.stroke = `var(${line.colour})`;
    return drawing;
  };
  const plot = draw.plot({ ...ends, names, height: 270, room: 40 }, (placed) => {
    at = placed;
    const mine = asked.x.map((x, k) => [x, drawn[k]]);
    const lines = [...given, ...(revealed ? [...more, truth] : [])];
    return [
      ...lines.map((line) => stroke(line, given.includes(line) ? "given" : "true")),
      draw.line(at, mine, "mine"),
      ...mine.map((pair, k) => draw.dot(at, pair, k === 0 ? "fixed" : `handle${k === focused ? " focused" : ""}`, k === 0 ? 4 : 7)),
      ...labels(revealed ? [...lines, { name: "yours", colour: "--pst-color-text-base", x: asked.x, y: drawn }] : lines),
    ];
  });

  /* Drawing: the point whose x is nearest goes to the height of the pointer. */
  const svg = plot.querySelector("svg");
  function follow(event) {
    if (revealed || (event.type === "pointermove" && event.buttons !== 1)) return;
    const place = svg.getBoundingClientRect();
    const [x, y] = [event.clientX - place.left, event.clientY - place.top];
    const away = asked.x.map((here, i) => (i > 0 ? Math.abs(at.x(here) - x) : Infinity));
    const k = away.indexOf(Math.min(...away));
    set(k, value(nearest(low + ((at.y(low) - y) / (at.y(low) - at.y(high))) * (high - low))));
    event.preventDefault();
  }
  svg.addEventListener("pointerdown", follow);
  svg.addEventListener("pointermove", follow);

  function set(k, y) {
    drawn[k] = y;
    handles[k].value = nearest(y);
    handles[k].ariaValueText = fixed(y, digits);
    show();
  }

  /* The figure below: what is drawn there is covered, what is written stays. */
  const shown = document.getElementById(figure);
  const details = box.closest("details");
  const look = button("or look at once", () => { revealed = true; show(); });
  const veil = make("div", { class: "veil" }, "Draw your line first, ", look);
  if (location.hash === `#${figure}`) revealed = true;
  function cover() {
    const covered = Boolean(shown) && details.open && !revealed;
    shown?.classList.toggle("veiled", covered);
    if (covered) shown.prepend(veil);
    else veil.remove();
  }
  details.addEventListener("toggle", cover);

  const voice = draw.voice();
  function begin() {
    revealed = false;
    drawn = asked.y.map(() => asked.y[0]);
    for (const [k, handle] of handles.entries()) {
      if (!handle) continue;
      handle.value = nearest(drawn[k]);
      handle.ariaValueText = fixed(drawn[k], digits);
    }
  }
  function show() {
    plot.classList.toggle("open", !revealed);
    handles.forEach((handle) => handle && (handle.disabled = revealed));
    reveal.disabled = revealed;
    cover();
    plot.redraw();
    const told = asked.x.map((x, k) => `${fixed(drawn[k], digits)} at ${x}`).join(", ");
    plot.tell(`${names[1]} against ${names[0]}. Your line of \u201c${asked.name}\u201d: ${told}.`);
    if (!revealed) {
      const given = `${fixed(drawn[0], digits)} at ${asked.x[0]}`;
      voice.say(`Draw the line of \u201c${asked.name}\u201d from the point that is given, ${given}. Yours: ${told}.`);
      return;
    }
    const misses = asked.y.map((y, k) => Math.abs(y - drawn[k])), worst = misses.indexOf(Math.max(...misses));
    voice.say(
      `Your line is off by ${fixed(exact.sum(misses) / (misses.length - 1), digits + 1)} on average, and most at ${asked.x[worst]}: ` +
      `you say ${fixed(drawn[worst], digits)}, it is ${fixed(asked.y[worst], digits)}. At the end it is ${fixed(asked.y.at(-1), digits)}.`,
    );
  }
  const early = revealed;
  begin();
  revealed = Boolean(early);
  box.append(plot, make("div", { class: "handles" }, ...handles), make("div", { class: "controls" }, reveal, again), voice);
  show();
});
