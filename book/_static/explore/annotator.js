/* Be the annotator: your comparisons, the Bradley-Terry fit after each of them, and the policy that you caused. */
draw.start("annotator", (box, { question, names, precision, price, prices, pairs, labels, groups }) => {
  const { make, fixed, percent, digits } = draw;
  const told = []; /* your labels: 1 for the first answer, 0 for the second, 1/2 for no difference */
  const STEPS = 200, SHOWN = 8, WIDE = 1.959964; /* standard deviations on either side of a 95% interval */
  const differences = pairs.map(({ parts: [first, second] }) => first.map((part, k) => part - second[k]));
  const total = { reward: groups.map((group) => exact.sum(group.parts)), mass: groups.map((group) => group.mass) };

  const asked = make("p", { class: "asked" });
  const texts = make("div", { class: "pair" });
  const first = draw.button("", () => answer(1)), second = draw.button("", () => answer(0));
  texts.append(first, second);
  const same = draw.button("no difference", () => answer(0.5));
  const undo = draw.button("undo", () => { told.pop(); show(); });
  const finish = draw.button("let a simulated person finish", () => { told.push(...labels.slice(told.length)); show(); });
  const again = draw.button("begin again", () => { told.length = 0; show(); });
  const slider = draw.slider({
    label: "price β of a nat", low: "cheap", high: "dear", steps: STEPS, value: draw.geometric(...prices, STEPS),
    told: digits, change: show,
    first: Math.round((STEPS * Math.log(price / prices[0])) / Math.log(prices[1] / prices[0])),
  });

  let fit = exact.fit([], [], precision, names.length);
  const ends = { x: [-4, 6], y: [names.length, 0] };
  const look = { names: ["weight in the reward, with 95% intervals", ""], marks: { x: [-4, -2, 0, 2, 4, 6], y: [] }, room: 72, height: 230 };
  const weights = draw.plot({ ...ends, ...look }, (at) => [
    draw.line(at, [[0, 0], [0, names.length]], "zero"),
    draw.line(at, [[1, 0], [1, names.length]], "truth"),
    draw.word(at, [1, 0], "R*", "middle", [0, -4]),
    ...names.flatMap((name, k) => {
      const within = (value) => Math.min(Math.max(value, ends.x[0]), ends.x[1]);
      const spread = [-1, 1].map((side) => [within(fit.mean[k] + side * WIDE * fit.sd[k]), k + 0.5]);
      return [
        draw.word(at, [ends.x[0], k + 0.5], name, "end", [-8, 4]),
        draw.line(at, spread, "interval"),
        draw.dot(at, [within(fit.mean[k]), k + 0.5], "weight"),
      ];
    }),
  ]);
  const table = draw.bars(
    "The likeliest answers of the policy that you caused", ["answer", "R*"], [["pretrained", "--pretrained"], ["yours", "--learned"]],
  );
  const voice = draw.voice();

  function answer(label) {
    told.push(label);
    show();
    if (told.length === pairs.length) again.focus();
  }

  function show() {
    const done = told.length === pairs.length;
    asked.textContent = done
      ? "Thank you. This is the reward that you taught, and what the model says now."
      : `Comparison ${told.length + 1} of ${pairs.length}. Somebody asks \u201c${question}\u201d. Which answer is better?`;
    [first, second].forEach((choice, k) => (choice.textContent = done ? "\u2013" : pairs[told.length].texts[k]));
    for (const choice of [first, second, same, finish]) choice.disabled = done;
    undo.disabled = again.disabled = told.length === 0;

    fit = exact.fit(differences.slice(0, told.length), told, precision, names.length);
    const beta = slider.read();
    const yours = { mass: total.mass, reward: groups.map((group) => exact.dot(group.parts, fit.mean)) };
    const { p, logZ, kl } = exact.gibbs(yours, beta);
    const rows = groups.flatMap((group, k) => group.answers.map(([text, before]) => ({
      head: text, cells: [fixed(total.reward[k])], bars: [before, before * Math.exp(yours.reward[k] / beta - logZ)],
    })));
    table.show(rows.sort((a, b) => b.bars[1] - a.bars[1]).slice(0, SHOWN));
    weights.redraw();
    const end = (k, side) => fixed(fit.mean[k] + side * WIDE * fit.sd[k]);
    const spread = names.map((name, k) => `${name} ${fixed(fit.mean[k])} (${end(k, -1)} to ${end(k, 1)})`);
    weights.tell(`Weights and 95% intervals after ${told.length} comparisons: ${spread.join(", ")}. R* has weights of 1.`);
    const agreed = told.filter((label, k) => (label - 0.5) * exact.sum(differences[k]) > 0).length;
    voice.say(
      `${told.length} comparisons${told.length ? `, of which R* sees ${agreed} as you do` : ""}. Weights with 95% intervals: ` +
      `${names.map((name, k) => `${name} ${fixed(fit.mean[k], 1)} ± ${fixed(WIDE * fit.sd[k], 1)}`).join(", ")}. ` +
      `At β = ${digits(beta)} your policy is ${fixed(kl)} nats away and earns ${fixed(exact.dot(p, total.reward))} of the ` +
      `oracular reward R*; the pretrained model earns ${fixed(exact.dot(total.mass, total.reward))}, ` +
      `the optimum for R* ${fixed(exact.gibbs(total, beta).reward)}. ` +
      `It says \u201c${rows[0].head}\u201d in ${percent(rows[0].bars[1])} of the cases.`,
    );
  }
  box.append(
    make("div", { class: "asking" }, asked, texts, make("div", { class: "controls" }, same, undo, finish, again)),
    make("div", { class: "sides" }, weights, table), slider, voice,
  );
  show();
});
