/* The clip range of PPO: what a ratio counts, for a good and a bad token, and which tokens of a real batch are flat. */
draw.start("clip", (box, { advantage, ratio }) => {
  const { make, fixed } = draw;
  const options = { change: show, told: (value) => fixed(value) };
  const range = draw.slider({ label: "clip range ε", steps: 45, first: 15, value: (k) => (5 + k) / 100, ...options });
  const moved = draw.slider({ label: "ratio u", steps: 130, first: 95, value: (k) => (40 + k) / 100, ...options });
  const passes = draw.slider({
    label: "passes over the batch", steps: ratio.length - 1, first: ratio.length - 1, value: (k) => k, told: String, change: show,
  });
  const held = (u, epsilon) => Math.min(Math.max(u, 1 - epsilon), 1 + epsilon);
  const counts = (u, a, epsilon) => Math.min(u * a, held(u, epsilon) * a);
  const flat = (u, a, epsilon) => (a > 0 ? u > 1 + epsilon : a < 0 && u < 1 - epsilon);

  const grid = Array.from({ length: 131 }, (_, k) => (40 + k) / 100);
  const ends = [0.4, 1.7];
  const objective = draw.plot({ x: ends, y: [-1.8, 1.8], names: ["ratio u", "objective of one token"] }, (at) => {
    const epsilon = range.read(), u = moved.read();
    return [
      draw.area(at, [[1 + epsilon, 0], [ends[1], 0], [ends[1], 1.8], [1 + epsilon, 1.8]], "flat"),
      draw.area(at, [[ends[0], 0], [1 - epsilon, 0], [1 - epsilon, -1.8], [ends[0], -1.8]], "flat"),
      draw.line(at, [[ends[0], 0], [ends[1], 0]], "zero"),
      draw.line(at, [[1, -1.8], [1, 1.8]], "zero"),
      ...[1, -1].map((a) => draw.line(at, grid.map((v) => [v, counts(v, a, epsilon)]), "ppo-line")),
      draw.word(at, [ends[0], 0], "A = 1", "", [4, -8]), draw.word(at, [ends[0], 0], "A = \u22121", "", [4, 18]),
      ...[1, -1].map((a) => draw.dot(at, [u, counts(u, a, epsilon)], flat(u, a, epsilon) ? "token hollow" : "token", 6)),
    ];
  });
  const far = Math.max(1.7, ...ratio.flat()), high = Math.max(...advantage.map(Math.abs));
  const wide = { x: [Math.min(0.4, ...ratio.flat()), far], y: [-high, high] };
  const batch = draw.plot({ ...wide, names: ["ratio u", "advantage of the token"] }, (at) => {
    const epsilon = range.read(), now = ratio[passes.read()];
    return [
      draw.area(at, [[1 + epsilon, 0], [wide.x[1], 0], [wide.x[1], high], [1 + epsilon, high]], "flat"),
      draw.area(at, [[wide.x[0], 0], [1 - epsilon, 0], [1 - epsilon, -high], [wide.x[0], -high]], "flat"),
      draw.line(at, [[wide.x[0], 0], [wide.x[1], 0]], "zero"),
      draw.line(at, [[1, -high], [1, high]], "zero"),
      ...now.map((u, k) => draw.dot(at, [u, advantage[k]], flat(u, advantage[k], epsilon) ? "token hollow" : "token", 3)),
    ];
  });
  const voice = draw.voice();

  function show() {
    const epsilon = range.read(), u = moved.read(), now = ratio[passes.read()];
    const still = now.filter((v, k) => flat(v, advantage[k], epsilon)).length;
    const outside = now.filter((v) => Math.abs(v - 1) > epsilon).length;
    objective.redraw();
    batch.redraw();
    objective.tell(
      "The clipped objective of a good and a bad token against the ratio. " +
      `It is flat above ${fixed(1 + epsilon)} for the good and below ${fixed(1 - epsilon)} for the bad one.`,
    );
    batch.tell(
      `Tokens of a batch: advantage against ratio. ${still} of ${now.length} lie in the two shaded corners, ` +
      "where the gradient is zero.",
    );
    const slope = (a) => (flat(u, a, epsilon) ? "0" : fixed(a, 0));
    voice.say(
      `With ε = ${fixed(epsilon)}, at a ratio of ${fixed(u)}, a good token counts ${fixed(counts(u, 1, epsilon))} with slope ${slope(1)}, ` +
      `a bad one ${fixed(counts(u, -1, epsilon))} with slope ${slope(-1)}. After ${passes.read()} passes, ` +
      `${outside} of ${now.length} tokens of the batch are outside 1 ± ${fixed(epsilon)}, and the gradient of ${still} is zero.`,
    );
  }
  box.append(make("div", { class: "controls" }, range, moved, passes), make("div", { class: "sides" }, objective, batch), voice);
  show();
});
