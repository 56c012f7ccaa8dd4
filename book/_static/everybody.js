/* Paper is light, whatever the screen is. */
const root = document.documentElement;
const screenTheme = () => (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
window.addEventListener("beforeprint", () => { root.dataset.theme = "light"; });
window.addEventListener("afterprint", () => {
  const mode = root.dataset.mode; // what the reader asked for; the screen may have changed its theme meanwhile
  root.dataset.theme = mode === "dark" || mode === "light" ? mode : screenTheme();
});

/* What scrolls sideways can be scrolled with the keyboard; what does not is no stop of the Tab key. */
function stopWhereItScrolls() {
  const boxes = [...document.querySelectorAll(".bd-content :is(pre:not(.live-said), div.math, table, .pst-scrollable-table-container)")];
  const scrolls = boxes.map((box) => box.scrollWidth > box.clientWidth && getComputedStyle(box).overflowX !== "visible");
  boxes.forEach((box, k) => (scrolls[k] ? box.setAttribute("tabindex", "0") : box.removeAttribute("tabindex")));
}
window.addEventListener("load", () => requestAnimationFrame(stopWhereItScrolls));
window.addEventListener("resize", stopWhereItScrolls);
