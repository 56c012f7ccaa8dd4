/* beta on the Gibbs policy: the optimum at any price, and where it stands on the frontier. */
draw.start("beta", (box, { count, prices, price, questions }) => {
  const { fixed, percent, digits } = draw;
  const STEPS = 200;
  const choose = draw.choice({ label: "question", names: questions.map((q) => q.question), change: show });
  const first = Math.round((STEPS * Math.log(price / prices[0])) / Math.log(prices[1] / prices[0]));
  const slider = draw.slider({
    label: "price β of a nat", low: "cheap", high: "dear", steps: STEPS, first, change: show,
    value: draw.geometric(...prices, STEPS), told: digits,
  });
  const table = draw.bars(
    "Answers, their rewards, and their probabilities before and after", ["answer", "reward"],
    [["pretrained", "--pretrained"], ["optimum", "--exact"]],
  );
  const lowest = Math.min(...questions.flatMap((q) => q.others.map(([, reward]) => reward)));
  const ends = { x: [0, 3], y: [lowest - 0.2, 3.2] };
  const plot = draw.plot({ ...ends, names: ["KL from the pretrained model (nats)", "reward"] }, (at) => {
    const { levels, others } = questions[choose.read()];
    const beta = slider.read(), { reward, kl } = exact.gibbs(levels, beta), value = reward - beta * kl;
    const before = [0, exact.dot(levels.mass, levels.reward)];
    const optima = Array.from({ length: 90 }, (_, k) => exact.gibbs(levels, 0.03 * 1.08 ** k));
    const rise = Math.min(ends.x[1], (ends.y[1] - value) / beta);
    return [
      ...others.map((pair) => draw.dot(at, pair, "other", 3)),
      draw.line(at, [...optima.map((p) => [p.kl, p.reward]), before], "frontier"),
      draw.line(at, [[0, value], [rise, value + beta * rise]], "tangent"),
      draw.dot(at, before, "before", 4),
      draw.dot(at, [kl, reward], "optimum", 6),
      draw.dot(at, [0, value], "value", 4),
      draw.word(at, [0, value], `J = ${fixed(value)}`, "halo", [8, value > 2.7 ? 16 : -7]),
    ];
  });
  const voice = draw.voice();

  function show() {
    const { question, levels, answers } = questions[choose.read()];
    const beta = slider.read(), { logZ, reward, kl } = exact.gibbs(levels, beta);
    const after = answers.map((row) => row.before * Math.exp(row.reward / beta - logZ));
    const rows = answers.map((row, k) => ({ head: row.text, cells: [draw.minus(String(row.reward))], bars: [row.before, after[k]] }));
    const rest = [exact.sum(answers.map((row) => row.before)), exact.sum(after)].map((known) => Math.max(0, 1 - known));
    table.show([...rows, { head: `${(count - rows.length).toLocaleString("en")} others`, cells: [""], bars: rest }]);
    plot.redraw();
    const best = after.indexOf(Math.max(...after));
    plot.tell(
      `Reward against divergence. The frontier rises from the pretrained model and bends. The optimum stands at ${fixed(kl)} ` +
      `nats and a reward of ${fixed(reward)}. A line of slope ${digits(beta)} touches the frontier there and no grey dot is above it.`,
    );
    voice.say(
      `At β = ${digits(beta)} the optimum earns ${fixed(reward)} and is ${fixed(kl)} nats away. ` +
      `J = ${fixed(reward)} − ${digits(beta)} × ${fixed(kl)} = ${fixed(reward - beta * kl)}. Asked “${question}”, it says ` +
      `“${answers[best].text}” in ${percent(after[best])} of the cases.`,
    );
  }
  box.append(draw.make("div", { class: "controls" }, choose, slider), draw.make("div", { class: "sides" }, table, plot), voice);
  show();
});
