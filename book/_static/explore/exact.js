/* The mathematics of the explorables, as in the package. `levels` holds the rewards that occur under the reference, from
   the lowest, and their probabilities `mass`: all that a Gibbs policy or best-of-n depends on. */
const exact = {
  sum: (values) => values.reduce((total, value) => total + value, 0),
  dot: (a, b) => a.reduce((total, value, k) => total + value * b[k], 0),

  /* log sum_k mass_k exp(value_k) */
  logMean(mass, values) {
    const top = Math.max(...values);
    return top + Math.log(exact.sum(mass.map((m, k) => m * Math.exp(values[k] - top))));
  },

  /* What a distribution over the levels earns, and its divergence from the reference, in nats. */
  spot(levels, p) {
    const terms = p.map((share, k) => (share > 0 ? share * Math.log(share / levels.mass[k]) : 0));
    return { reward: exact.dot(p, levels.reward), kl: Math.max(0, exact.sum(terms)) };
  },

  /* pi*(level) = mass exp(reward / beta) / Z (eq-gibbs), the same for p, log Z, reward and divergence. */
  gibbs(levels, beta) {
    const logZ = exact.logMean(levels.mass, levels.reward.map((r) => r / beta));
    const p = levels.mass.map((m, k) => m * Math.exp(levels.reward[k] / beta - logZ));
    const reward = exact.dot(p, levels.reward);
    return { p, logZ, reward, kl: Math.max(0, reward / beta - logZ) };
  },

  /* pi_n(level) = F^n - (F - m)^n: the best of n draws (eq-best-of-n). */
  bestOf(levels, n) {
    let below = 0;
    const p = levels.mass.map((m) => {
      const atMost = Math.min(1, below + m), share = atMost ** n - below ** n;
      below = atMost;
      return share;
    });
    return { p, ...exact.spot(levels, p) };
  },

  /* log n - (n - 1) / n (eq-best-of-n-kl) */
  bound: (n) => Math.log(n) - (n - 1) / n,

  /* How often a draw from p is worth more than one from the reference, half of equals (eq-win-rate). */
  winRate(levels, p) {
    let below = 0;
    return exact.sum(p.map((share, k) => {
      const won = share * (below + levels.mass[k] / 2);
      below += levels.mass[k];
      return won;
    }));
  },

  /* Solve matrix x = columns by elimination with pivots; `columns` is a list of right-hand sides. */
  solve(matrix, columns) {
    const n = matrix.length, rows = matrix.map((row, i) => [...row, ...columns.map((column) => column[i])]);
    for (let i = 0; i < n; i++) {
      const top = rows.slice(i).reduce((best, row, k) => (Math.abs(row[i]) > Math.abs(rows[best][i]) ? i + k : best), i);
      [rows[i], rows[top]] = [rows[top], rows[i]];
      for (let k = 0; k < n; k++) {
        if (k === i) continue;
        const factor = rows[k][i] / rows[i][i];
        rows[k] = rows[k].map((value, j) => value - factor * rows[i][j]);
      }
    }
    return columns.map((_, c) => rows.map((row, i) => row[n + c] / row[i]));
  },

  /* The most probable weights of a Bradley-Terry model that is linear in differences of features, under the prior
     N(0, 1 / precision), and their standard deviations in the normal posterior: `fit_linear` (eq-map, eq-laplace). */
  fit(differences, labels, precision, size) {
    const cost = (theta) => exact.sum(differences.map((d, i) => {
      const margin = exact.dot(d, theta);
      return Math.max(margin, 0) + Math.log1p(Math.exp(-Math.abs(margin))) - labels[i] * margin;
    })) + (precision / 2) * exact.dot(theta, theta);
    const unit = Array.from({ length: size }, (_, i) => Array.from({ length: size }, (__, k) => Number(i === k)));
    let theta = unit.map(() => 0);
    for (;;) {
      const p = differences.map((d) => 1 / (1 + Math.exp(-exact.dot(d, theta))));
      const score = theta.map((t, i) => exact.sum(differences.map((d, n) => (labels[n] - p[n]) * d[i])) - precision * t);
      const information = unit.map((row, i) => row.map((one, k) =>
        precision * one + exact.sum(differences.map((d, n) => p[n] * (1 - p[n]) * d[i] * d[k]))));
      const [step, ...inverse] = exact.solve(information, [score, ...unit]);
      const largest = (values) => Math.max(...values.map(Math.abs));
      if (largest(step) <= 1e-10 * Math.max(1, largest(theta))) return { mean: theta, sd: inverse.map((row, i) => Math.sqrt(row[i])) };
      let share = 1;
      while (cost(theta.map((t, i) => t + share * step[i])) > cost(theta) + 1e-9 * (1 + cost(theta))) share /= 2;
      theta = theta.map((t, i) => t + share * step[i]);
    }
  },
};
