/* The tree of prefixes: at each state the prior, the soft values, and the optimum, for any price of a nat. */
draw.start("tree", (box, { prices, price, root }) => {
  const { make, fixed, percent, digits } = draw;
  const STEPS = 200, END = "<eos>";
  const slider = draw.slider({
    label: "price c of a nat", low: "cheap", high: "dear", steps: STEPS, value: draw.geometric(...prices, STEPS),
    told: digits,
    first: Math.round((STEPS * Math.log(price / prices[0])) / Math.log(prices[1] / prices[0])), change: show,
  });
  const voice = draw.voice();
  const updates = [];
  const soft = (node) => slider.read() * exact.gibbs(node.levels, slider.read()).logZ;
  const prior = (child, node) => child.reach / node.reach;
  const optimum = (child, node) => prior(child, node) * Math.exp((soft(child) - soft(node)) / slider.read());
  const span = (look, ...inside) => make("span", { class: look }, ...inside);
  const coloured = (look) => ["--pretrained", "--exact"].map((colour) => make("span", { class: look, style: `--bar:var(${colour})` }));
  const mean = (node) => exact.dot(node.levels.mass, node.levels.reward);
  let here = root, words = "";

  /* A row: the word, which opens what follows it; prior and optimum of this word after its prefix; what it promises. */
  function row(node, parent, before) {
    const text = before === null ? "" : `${before} ${node.word}`.trim();
    const lanes = coloured("bar"), numbers = coloured("number"), value = span("value");
    const below = node.next && make("ul", { hidden: true });
    const name = node.next
      ? make("button", { type: "button", class: "state", "aria-expanded": "false", onclick: settle }, node.word)
      : span("state", node.word);
    const drawn = make("span", { class: "lanes", "aria-hidden": "true" }, ...lanes);
    const line = make("div", { class: "branch" }, name, drawn, span("numbers", ...numbers), value);
    const item = make("li", {}, line, below);

    function toggle() {
      const open = below.hidden;
      if (open && !below.firstChild) {
        const followed = before === null ? "" : text;
        below.append(...node.next.map((child) => row(child, node, followed)), rest(node));
        for (const update of updates) update();
      }
      below.hidden = !open;
      name.setAttribute("aria-expanded", String(open));
    }
    function settle() {
      toggle();
      [here, words] = [node, text];
      show();
    }
    if (!parent) lanes.splice(0).forEach((lane) => lane.remove());
    updates.push(() => {
      value.textContent = fixed(soft(node));
      if (!parent) return;
      const shares = [prior(node, parent), optimum(node, parent)].map(percent);
      shares.forEach((share, k) => (lanes[k].style.width = numbers[k].textContent = share));
      const told = `${node.word}: prior ${shares[0]}, optimum ${shares[1]}, value ${value.textContent}`;
      if (node.next) name.setAttribute("aria-label", told);
    });
    item.open = toggle;
    return item;
  }

  /* What is too unlikely to be listed. */
  function rest(node) {
    const numbers = coloured("number");
    updates.push(() => [prior, optimum].forEach((law, k) => {
      const listed = exact.sum(node.next.map((child) => law(child, node)));
      numbers[k].textContent = percent(Math.max(0, 1 - listed));
    }));
    const parts = [span("state", "other words"), span("lanes"), span("numbers", ...numbers), span("value")];
    return make("li", {}, make("div", { class: "branch other" }, ...parts));
  }

  function show() {
    for (const update of updates) update();
    const next = here.next.reduce((best, other) => (optimum(other, here) > optimum(best, here) ? other : best));
    const place = words ? `After \u201c${words}\u201d` : "At the start";
    const does = next.word === END ? "ends the answer" : `goes on with \u201c${next.word}\u201d`;
    voice.say(
      `${place} the soft value is ${fixed(soft(here))}, between the prior\u2019s mean ${fixed(mean(here))} and the maximum ` +
      `${fixed(Math.max(...here.levels.reward))}. At a price of ${digits(slider.read())} the optimum most likely ${does}: ` +
      `${percent(optimum(next, here))}, where the prior does in ${percent(prior(next, here))}.`,
    );
  }

  const top = row(root, null, null);
  const yes = () => top.querySelector("ul").children[0];
  const keys = coloured("key");
  ["prior", "optimum"].forEach((name, k) => keys[k].append(name));
  const heads = make(
    "div", { class: "branch heads", "aria-hidden": "true" }, span("state", "state or word"),
    span("lanes", ...keys), span("numbers"), span("value", "Q or V"),
  );
  box.append(slider, heads, make("ul", { class: "tree", "aria-label": "Prefixes: prior, optimum, value" }, top), voice);
  top.open();
  yes().open();
  show();
});
