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
};
