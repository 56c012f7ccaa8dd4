/* A formula that is wider than its column is set smaller, to no less than two thirds; beyond that it scrolls in its box. */
function fitFormulas() {
  for (const formula of document.querySelectorAll("div.math mjx-container")) {
    formula.style.setProperty("font-size", (formula.dataset.size ??= formula.style.fontSize || "100%"));
    const share = formula.clientWidth / formula.scrollWidth;
    const size = parseFloat(getComputedStyle(formula).fontSize) * Math.max(0.98 * share, 0.66);
    if (share < 1) formula.style.setProperty("font-size", `${size}px`, "important"); // stronger than the phone's size
  }
}

window.addEventListener("load", () => window.MathJax?.startup.promise.then(fitFormulas));
window.addEventListener("resize", fitFormulas);
