// Typesets one formula with MathJax, where there is no browser: called by formulas.py, which loads MathJax first.
const { core, input, output, adaptors, handlers, a11y, mathjax } = MathJax._;
const adaptor = adaptors.liteAdaptor.liteAdaptor();
a11y["assistive-mml"].AssistiveMmlHandler(handlers.html_ts.RegisterHTMLHandler(adaptor));
const font = new output.chtml.fonts.tex_ts.TeXFont({ fontURL: "mathjax" });
const chtml = new output.chtml_ts.CHTML({ font, adaptiveCSS: true });
const tex = new input.tex_ts.TeX({ packages: ["base", "ams", "newcommand"] });
const page = mathjax.mathjax.document("", { InputJax: tex, OutputJax: chtml });

// The formula in HTML, and its width in em. Strings leave this engine as JSON.
function typeset(formula, display) {
  const item = new page.options.MathItem(formula, tex, display);
  item.start.node = adaptor.body(page.document); // where text is measured that its fonts do not have
  item.setMetrics(16, 8, 1280, 1e6, 1);
  item.convert(page);
  return JSON.stringify([adaptor.outerHTML(item.typesetRoot), display ? chtml.getBBox(item, page).w : 0]);
}

// What these formulas need, and no more.
function styles() {
  return JSON.stringify(adaptor.textContent(chtml.styleSheet(page)));
}
