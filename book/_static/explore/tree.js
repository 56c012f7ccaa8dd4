/* The tree of prefixes: at each state the prior, the soft values, and the optimum, for any price of a nat. */
draw.start("tree", (box, { prices, price, root }) => {
  const { make, fixed, percent, digits } = draw;
  const STEPS = 200, END = "<eos>";
  const slider = draw.slider({
    label: "price c of a nat", low: "cheap", high: "dear", steps: STEPS, value: draw.geometric(...prices, STEPS), told: digits,
    first: Math.round((STEPS * Math.log(price / prices[0])) / Math.log(prices[1] / prices[0])), change: show,
  });
  const voice = draw.voice();
  const updates = [];
  const soft = (node) => slider.read() * exact.gibbs(node.levels, slider.read()).logZ;
  const mean = (node) => exact.dot(node.levels.mass, node.levels.reward);
  let here = root, words = "";

  /* A row: the word, which opens what follows it; prior and optimum of this word after its prefix; what it promises. */
  function row(node, parent, before) {
    const text = before === null ? "" : `${before} ${node.word}`.trim();
    const lanes = ["--pretrained", "--exact"].map((colour) => make("span", { class: "bar", style: `--bar:var(${colour})` }));
    const numbers = ["--pretrained", "--exact"].map((colour) => make("span", { class: "number", style: `--bar:var(${colour})` }));
    const value = make("span", { class: "value" });
    const below = node.next && make("ul", { hidden: true });
    const name = node.next
      ? make("button", { type: "button", class: "state", "aria-expanded": "false", onclick: () => { toggle(); settle(); } }, node.word)
      : make("span", { class: "state" }, node.word);
    const line = make("div", { class: "branch" }, name, make("span", { class: "lanes", "aria-hidden": "true" }, ...lanes), make("span", { class: "numbers" }, ...numbers), value);
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
      [here, words] = [node, text];
      show();
    }
    if (!parent) lanes.splice(0).forEach((lane) => lane.remove());
    updates.push(() => {
      value.textContent = fixed(soft(node));
      if (!parent) return;
      const prior = node.reach / parent.reach, optimum = prior * Math.exp((soft(node) - soft(parent)) / slider.read());
      [prior, optimum].forEach((share, k) => {
        lanes[k].style.width = percent(share);
        numbers[k].textContent = percent(share);
      });
      if (node.next) name.setAttribute("aria-label", `${node.word}: prior ${percent(prior)}, optimum ${percent(optimum)}, value ${fixed(soft(node))}`);
    });
    item.open = toggle;
    return item;
  }

  /* What is too unlikely to be listed. */
  function rest(node) {
    const line = make("span", { class: "number", style: "--bar:var(--pretrained)" }), after = make("span", { class: "number", style: "--bar:var(--exact)" });
    updates.push(() => {
      const prior = exact.sum(node.next.map((child) => child.reach / node.reach));
      const optimum = exact.sum(node.next.map((child) => (child.reach / node.reach) * Math.exp((soft(child) - soft(node)) / slider.read())));
      line.textContent = percent(Math.max(0, 1 - prior));
      after.textContent = percent(Math.max(0, 1 - optimum));
    });
    return make("li", {}, make("div", { class: "branch other" }, make("span", { class: "state" }, "other words"), make("span", { class: "lanes" }), make("span", { class: "numbers" }, line, after), make("span", { class: "value" })));
  }

  function show() {
    for (const update of updates) update();
    const likely = here.next.map((child) => [child.word, (child.reach / here.reach) * Math.exp((soft(child) - soft(here)) / slider.read()), child.reach / here.reach]);
    const [next, optimum, prior] = likely.reduce((best, other) => (other[1] > best[1] ? other : best));
    voice.say(
      `${words ? `After \u201c${words}\u201d` : "At the start"} the soft value is ${fixed(soft(here))}, between the prior\u2019s mean ${fixed(mean(here))} and the ` +
      `maximum ${fixed(Math.max(...here.levels.reward))}. At a price of ${digits(slider.read())} the optimum most likely ` +
      `${next === END ? "ends the answer" : `goes on with \u201c${next}\u201d`}: ${percent(optimum)}, where the prior does in ${percent(prior)}.`,
    );
  }

  const top = row(root, null, null);
  const yes = () => top.querySelector("ul").children[0];
  const heads = make(
    "div", { class: "branch heads", "aria-hidden": "true" }, make("span", { class: "state" }, "state or word"),
    make("span", { class: "lanes" }, make("span", { class: "key", style: "--bar:var(--pretrained)" }, "prior"), make("span", { class: "key", style: "--bar:var(--exact)" }, "optimum")),
    make("span", { class: "numbers" }), make("span", { class: "value" }, "Q or V"),
  );
  box.append(slider, heads, make("ul", { class: "tree", "aria-label": "Prefixes: prior, optimum, value" }, top), voice);
  top.open();
  yes().open();
  show();
});
