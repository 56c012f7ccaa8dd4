/* What the explorables share: elements, sliders and buttons with words, tables with bars, plots in SVG, and a voice. */
const draw = (() => {
  const SVG = new Set(["svg", "g", "path", "line", "rect", "circle", "text", "tspan", "polyline", "polygon"]);

  /* make("p", { class: "a" }, "text", other elements): what is nothing or false is left out. */
  function make(tag, attributes = {}, ...inside) {
    const element = SVG.has(tag) ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...inside.filter((part) => part != null && part !== false));
    return element;
  }

  const minus = (text) => text.replaceAll("-", "\u2212");
  const fixed = (value, digits = 2) => minus((Math.abs(value) < 0.5 * 10 ** -digits ? 0 : value).toFixed(digits));
  const percent = (share) => `${(100 * share).toFixed(1)}%`;
  const digits = (value, count = 2) => String(Number(value.toPrecision(count)));

  /* Call `begin(box, numbers)` for each explorable of that name, in the place of its sentence. */
  function start(name, begin) {
    for (const box of document.querySelectorAll(`[data-explore="${name}"]`)) {
      box.querySelector(".still").hidden = true;
      begin(box, JSON.parse(box.querySelector("script").textContent));
    }
  }

  /* A slider over 0 ... steps, of which `value(k)` is shown as `told(value)`; its element has `read()`. */
  function slider({ label, low, high, steps, first, value, told, change }) {
    const shown = make("output");
    const input = make("input", { type: "range", min: 0, max: steps, value: first, "aria-label": label });
    const row = make(
      "label", { class: "slider" }, make("span", {}, `${label} `, shown),
      low && make("small", {}, low), input, high && make("small", {}, high),
    );
    row.read = () => value(Number(input.value));
    const tell = () => (input.ariaValueText = shown.textContent = told(row.read()));
    input.addEventListener("input", () => { tell(); change(); });
    tell();
    return row;
  }

  /* Steps of a slider whose values grow by equal factors; a value is the number of two digits that is shown. */
  const geometric = (low, high, steps) => (k) => Number((low * (high / low) ** (k / steps)).toPrecision(2));

  /* A list to choose from; its element has `read()`, the number of the entry that is chosen. */
  function choice({ label, names, change }) {
    const input = make("select", { onchange: change }, ...names.map((name, k) => make("option", { value: k }, name)));
    const row = make("label", { class: "choice" }, `${label} `, input);
    row.read = () => Number(input.value);
    return row;
  }

  const button = (name, click) => make("button", { type: "button", onclick: click }, name);

  /* A table whose last column has a bar for each method: show(rows), rows of { head, cells, bars: [share, ...] }. */
  function bars(caption, heads, methods) {
    const body = make("tbody");
    const keys = methods.map(([name, colour]) => make("span", { class: "key", style: `--bar:var(${colour})` }, name));
    const columns = heads.map((head) => make("th", { scope: "col" }, head));
    const table = make(
      "table", { class: "bars" }, make("caption", { class: "visually-hidden" }, caption),
      make("thead", {}, make("tr", {}, ...columns, make("th", { scope: "col" }, ...keys))), body,
    );
    const bar = (share, k) => make("span", { class: "bar", style: `--bar:var(${methods[k][1]});width:${percent(share)}` });
    const number = (share, k) => make("span", { class: "number", style: `--bar:var(${methods[k][1]})` }, percent(share));
    table.show = (rows) => body.replaceChildren(...rows.map(({ head, cells, bars: shares }) => make(
      "tr", {}, make("th", { scope: "row" }, head), ...cells.map((cell) => make("td", {}, cell)),
      make(
        "td", {}, make("span", { class: "lanes", "aria-hidden": "true" }, ...shares.map(bar)),
        make("span", { class: "numbers" }, ...shares.map(number)),
      ),
    )));
    return table;
  }

  const round = (value) => value.toFixed(1);
  const points = (at, pairs) => pairs.map(([x, y]) => `${round(at.x(x))},${round(at.y(y))}`).join(" ");

  /* Marks in a plot: `at` places the numbers of its axes. */
  const line = (at, pairs, look) => make("polyline", { points: points(at, pairs), class: look });
  const area = (at, pairs, look) => make("polygon", { points: points(at, pairs), class: look });
  const dot = (at, [x, y], look, r = 5) => make("circle", { cx: round(at.x(x)), cy: round(at.y(y)), r, class: look });
  const word = (at, [x, y], said, look = "", [dx, dy] = [0, 0]) =>
    make("text", { x: round(at.x(x) + dx), y: round(at.y(y) + dy), class: look }, said);

  /* Round numbers between two ends, about `count` of them. */
  function ticks([low, high], count) {
    const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
    const found = [];
    for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9; k++) found.push(k * step);
    return found;
  }

  function axes(at, { x, y, names, marks }) {
    const [left, right, low, high] = [at.x(x[0]), at.x(x[1]), at.y(y[0]), at.y(y[1])];
    const across = (marks?.x ?? ticks(x, at.wide > 420 ? 6 : 4)).map((value) =>
      make("text", { x: round(at.x(value)), y: low + 16, class: "middle" }, minus(String(Number(value.toPrecision(6))))));
    const up = (marks?.y ?? ticks(y, 5)).map((value) =>
      make("text", { x: left - 6, y: round(at.y(value) + 4), class: "end" }, minus(String(Number(value.toPrecision(6))))));
    return [
      make("path", { d: `M${left},${high} V${low} H${right}`, class: "axis" }), ...across, ...up,
      make("text", { x: right, y: low + 33, class: "end name" }, names[0]), make("text", { x: 2, y: 12, class: "name" }, names[1]),
    ];
  }

  /* A plot as wide as its box: `paint(at)` returns marks. Its element has `redraw()` and `tell(words)`. */
  function plot({ x, y, names, marks, height = 260, room = 34 }, paint) {
    const svg = make("svg", { role: "img" });
    const box = make("div", { class: "plot" }, svg);
    box.redraw = () => {
      const wide = box.clientWidth;
      if (wide < 60) return; /* its box is closed */
      const share = (v, [first, last]) => (v - first) / (last - first);
      const at = {
        wide,
        x: (v) => room + share(v, x) * (wide - room - 10),
        y: (v) => height - 38 - share(v, y) * (height - 60),
      };
      svg.setAttribute("viewBox", `0 0 ${wide} ${height}`);
      svg.replaceChildren(...axes(at, { x, y, names, marks }), ...paint(at));
    };
    box.tell = (words) => svg.setAttribute("aria-label", words);
    new ResizeObserver(box.redraw).observe(box);
    return box;
  }

  /* A sentence that stands in the page at once, and is spoken when the reader has paused. */
  function voice() {
    const seen = make("p", { class: "told", "aria-hidden": "true" });
    const spoken = make("p", { class: "visually-hidden", role: "status" });
    const box = make("div", {}, seen, spoken);
    let later = 0;
    box.say = (words) => {
      seen.textContent = words;
      clearTimeout(later);
      later = setTimeout(() => (spoken.textContent = words), 400);
    };
    return box;
  }

  return { make, start, slider, geometric, choice, button, bars, plot, line, area, dot, word, voice, fixed, percent, digits, minus };
})();
