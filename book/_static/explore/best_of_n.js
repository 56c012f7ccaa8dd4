/* n of best-of-n: its exact law, what it earns and spends, and the Gibbs policy of the same divergence. */
draw.start("best_of_n", (box, { start, questions, counts, first }) => {
  const { make, fixed, digits } = draw;
  const slider = draw.slider({
    label: "best of n =", low: "one", high: "many", steps: counts.length - 1, first, value: (k) => counts[k],
    told: String, change: show,
  });
  const FLOORS = [3, 2, 1, 0, -1, -2, -Infinity]; /* of the rows of the table */
  const mean = (values) => exact.dot(start, values);
  const best = (n) => questions.map((levels) => exact.bestOf(levels, n));
  const optima = (beta) => questions.map((levels) => exact.gibbs(levels, beta));
  const spot = (laws) => [mean(laws.map((law) => law.kl)), mean(laws.map((law) => law.reward))];

  /* The price at which the Gibbs policy is as far away, by halving on a scale of factors. */
  function sameDistance(kl) {
    let [low, high] = [1e-3, 1e4];
    for (let k = 0; k < 80; k++) {
      const middle = Math.sqrt(low * high);
      if (spot(optima(middle))[0] > kl) low = middle;
      else high = middle;
    }
    return low;
  }

  const shares = (laws) => FLOORS.map((floor, row) => mean(questions.map((levels, q) => exact.sum(
    laws[q].filter((_, k) => levels.reward[k] >= floor && (row === 0 || levels.reward[k] < FLOORS[row - 1]))))));
  const table = draw.bars(
    "How often the reward of an answer lies in each range", ["reward"],
    [["one draw", "--pretrained"], ["best of n", "--best-of-n"], ["Gibbs, same KL", "--exact"]],
  );
  const frontier = Array.from({ length: 90 }, (_, k) => spot(optima(0.03 * 1.08 ** k)));
  const path = counts.map((n) => spot(best(n)));
  const plot = draw.plot({ x: [0, 3], y: [-0.5, 3.2], names: ["KL from the reference (nats)", "true reward"] }, (at) => {
    const n = slider.read(), bound = exact.bound(n), here = spot(best(n));
    return [
      bound <= 3 && draw.line(at, [[bound, -0.5], [bound, 3.1]], "tangent"),
      bound <= 3 && draw.word(at, [bound, -0.5], "bound", bound > 2 ? "halo end" : "halo", [bound > 2 ? -5 : 5, -7]),
      draw.line(at, [...frontier, [0, path[0][1]]], "frontier"),
      draw.line(at, path, "drawn"),
      ...path.map((pair) => draw.dot(at, pair, "drawn-dot", 2.5)),
      draw.dot(at, spot(now().gibbs), "optimum", 6),
      draw.dot(at, here, "drawn-dot here", 6),
    ].filter(Boolean);
  });
  const voice = draw.voice();

  /* The laws at this n. Both policies begin as the reference, and end as the reference given the highest reward. */
  const farthest = -mean(questions.map((levels) => Math.log(levels.mass.at(-1))));
  function now() {
    const n = slider.read(), drawn = best(n), [kl] = spot(drawn);
    if (n === 1 || farthest - kl < 1e-9) return { n, drawn, gibbs: drawn };
    const beta = sameDistance(kl);
    return { n, drawn, beta, gibbs: optima(beta) };
  }

  function show() {
    const { n, drawn, beta, gibbs } = now();
    const columns = [questions.map((levels) => levels.mass), drawn.map((law) => law.p), gibbs.map((law) => law.p)].map(shares);
    const names = ["3", ...FLOORS.slice(1, -1).map((floor) => draw.minus(`${floor} to ${floor + 0.75}`)), "below \u22122"];
    table.show(names.map((head, row) => ({ head, cells: [], bars: columns.map((column) => column[row]) })));
    plot.redraw();
    const [kl, reward] = spot(drawn), [, other] = spot(gibbs);
    const won = mean(questions.map((levels, q) => exact.winRate(levels, drawn[q].p)));
    plot.tell(
      `True reward against divergence. Best of ${n} stands at ${fixed(kl)} nats and a reward of ${fixed(reward)}, ` +
      `${fixed(other - reward, 3)} below the frontier of Gibbs policies.`,
    );
    const beside = n === 1
      ? "One draw is the reference."
      : beta
        ? `The Gibbs policy of the same divergence has β = ${digits(beta)} and earns ${fixed(other - reward, 3)} more.`
        : "It is now the reference given the highest reward, which is the end of the frontier, too.";
    voice.say(
      `Best of ${n} earns ${fixed(reward)} at ${fixed(kl)} nats; the bound is ${fixed(exact.bound(n))}. It wins against one draw with ` +
      `probability ${fixed(won)}; the bound is ${fixed(n / (n + 1))}. ` +
      beside,
    );
  }
  box.append(slider, make("div", { class: "sides" }, table, plot), voice);
  show();
});
