/* The slider of the front page goes through numbers that stand in the page. Until this runs, the figure stands still. */
for (const figure of document.querySelectorAll("figure.beta")) {
  const { beta, answers, percent, expected, kl } = JSON.parse(figure.querySelector("script").textContent);
  const slider = figure.querySelector("input");
  const all = (selector) => figure.querySelectorAll(selector);
  const plot = figure.querySelector("svg");
  const [x, y] = [plot.dataset.x, plot.dataset.y].map((axis) => axis.split(" ").map(Number));
  const show = () => {
    const k = Number(slider.value);
    const likeliest = percent[k].indexOf(Math.max(...percent[k].slice(0, -1)));
    const told = percent[k].map((p) => `${p.toFixed(1)}%`);
    figure.querySelector("output").textContent = beta[k];
    all(".bar:last-child").forEach((bar, row) => (bar.style.width = told[row]));
    all("td .exact").forEach((number, row) => (number.textContent = told[row]));
    all("tspan").forEach((number, row) => (number.textContent = [expected, kl][row][k].toFixed(2)));
    plot.querySelector("circle").setAttribute("cx", x[0] + x[1] * kl[k]);
    plot.querySelector("circle").setAttribute("cy", y[0] + y[1] * expected[k]);
    slider.ariaValueText =
      `${beta[k]}: ${answers[likeliest]} ${told[likeliest]}, expected reward ${expected[k].toFixed(2)}, ` +
      `KL divergence ${kl[k].toFixed(2)} nats`;
  };
  slider.parentElement.hidden = false;
  slider.addEventListener("input", show);
  show(); /* a browser may remember where the slider was */
}
