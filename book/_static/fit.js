/* A formula that is wider than its column is set smaller, to no less than 11 pixels on a phone; beyond that it scrolls in its box. */
function fitFormulas() {
  for (const formula of document.querySelectorAll("div.math mjx-container")) {
    formula.style.fontSize = formula.dataset.size ??= formula.style.fontSize || "100%";
    const share = formula.clientWidth / formula.scrollWidth;
    if (share < 1) formula.style.fontSize = `calc(${formula.dataset.size} * ${Math.max(0.98 * share, 0.55)})`;
  }
}

window.addEventListener("load", () => window.MathJax?.startup.promise.then(fitFormulas));
window.addEventListener("resize", fitFormulas);
