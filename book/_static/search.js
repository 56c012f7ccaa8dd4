/* The search of the book. SECTIONS comes from sections.js, Stemmer and stopwords from Sphinx's language_data.js.

   A word is compared by its form: American spelling, letters of the Greek alphabet by name, the stem of Porter. A name in
   the glossary stands for all names of its entry, so an abbreviation finds what it abbreviates. */

const GREEK = Object.fromEntries(
  ("α alpha β beta γ gamma δ delta ε epsilon ϵ epsilon ζ zeta η eta θ theta ϑ theta κ kappa λ lambda μ mu ν nu ξ xi π pi " +
    "ρ rho σ sigma τ tau φ phi ϕ phi χ chi ψ psi ω omega").match(/\S+ \S+/g).map((pair) => pair.split(" ")));
const SPELLINGS = [
  [/is(e|ed|es|er|ers|ing|ation|ations|able)$/, "iz$1"],
  [/ys(e|ed|es|ing)$/, "yz$1"],
  [/([a-z]{3})our/, "$1or"],
  [/gement(s?)$/, "gment$1"],
  [/tre(d?)$/, "ter$1"],
];
const stemmer = new Stemmer();
const known = new Map();

function form(word) {
  if (!known.has(word)) {
    let plain = word.normalize("NFKD").toLowerCase().replace(/\p{M}/gu, "");
    plain = plain.replace(/\p{Script=Greek}/gu, (letter) => GREEK[letter] ?? letter);
    for (const [british, american] of SPELLINGS) plain = plain.replace(british, american);
    known.set(word, stemmer.stemWord(plain).replace(/ll$/, "l"));
  }
  return known.get(word);
}

/* The words of a text; one with hyphens is a word, too, beside its parts. */
function words(text) {
  return text.replace(/['’]s\b/g, "").match(/[\p{L}\p{M}\p{N}_]+(?:[-‐‑–][\p{L}\p{M}\p{N}_]+)*/gu) ?? [];
}
const joined = (word) => form(word.replace(/[-‐‑–]/g, ""));
const query = (text) => words(text).map(joined);
const stream = (text) =>
  ` ${words(text).flatMap((word) => (/[-‐‑–]/.test(word) ? [joined(word), ...word.split(/[-‐‑–]/).map(form)] : form(word))).join(" ")} `;
const count = (text, phrase) => text.split(` ${phrase} `).length - 1;

const index = SECTIONS.map((section) => ({
  section,
  names: (section.names ?? []).map((name) => query(name).join(" ")),
  title: stream([section.title, ...(section.names ?? [])].join(" ")),
  text: stream(section.text),
  above: stream(section.of),
}));

/* What to look for: for each word of the query, or each name of the glossary in it, the forms that count as found. */
function wanted(text) {
  const forms = query(text).filter((word, k, all) => all.length === 1 || !stopwords.includes(word));
  const entries = index.filter((entry) => entry.names.length);
  const found = [];
  for (let k = 0; k < forms.length; ) {
    let length = Math.min(5, forms.length - k);
    let named = [];
    for (; length > 0; length--) {
      const phrase = forms.slice(k, k + length).join(" ");
      named = entries.filter((entry) => entry.names.includes(phrase));
      if (named.length) break;
    }
    length = Math.max(length, 1);
    const own = forms.slice(k, k + length).join(" ");
    found.push([...new Set([own, ...named.flatMap((entry) => entry.names)])]);
    k += length;
  }
  return found;
}

function find(text) {
  const groups = wanted(text);
  const whole = query(text).join(" ");
  const length = index.reduce((sum, entry) => sum + entry.text.length, 0) / index.length;
  const hits = groups.map((group) =>
    index.map((entry) => {
      const own = (k) => (k ? 0.6 : 1); // another name of the same thing counts less
      const title = Math.max(...group.map((phrase, k) => own(k) * Math.min(count(entry.title, phrase), 1)));
      const times = group.reduce((sum, phrase, k) => sum + own(k) * count(entry.text, phrase), 0);
      const usual = 0.4 + (0.6 * entry.text.length) / length;
      const above = (title || times) && group.some((phrase) => count(entry.above, phrase)) ? 0.3 : 0;
      return 2 * title + times / (times + 1.2 * usual) + above;
    }));
  const rare = hits.map((scores) => Math.log(1 + index.length / (1 + scores.filter((score) => score > 0).length)));
  const told = index.filter((entry) => entry.names.includes(whole)).map((entry) => entry.section.text).join(" ");
  const results = index.map((entry, k) => {
    const matched = hits.filter((scores) => scores[k] > 0).length / hits.length;
    const score = hits.reduce((sum, scores, g) => sum + rare[g] * scores[k], 0);
    const same = entry.section.names?.some((name) => name.toLowerCase() === text.trim().toLowerCase());
    const named = same ? 20 : entry.names.includes(whole) ? 10 : 1; // PPO is not PPO++
    const explains = told.includes(`Explained in ${entry.section.title}.`) ? 2 : 1; // says the glossary
    return { section: entry.section, matched, score: score * named * explains * matched ** 2 * entry.section.weight };
  });
  return results.filter((result) => result.matched >= 0.5).sort((a, b) => b.score - a.score);
}

/* The two sentences of the paragraph that matches best; a definition from its beginning. */
function snippet(section, forms) {
  const paragraphs = section.text.split("\n").map((text) => text.split(/(?<=[.!?]["”)]?)\s+(?=\p{Lu})/u));
  let best = { worth: section.names ? Infinity : 0, text: paragraphs[0].slice(0, 2).join(" ") };
  for (const sentences of paragraphs)
    sentences.forEach((sentence, k) => {
      const worth = forms.filter((phrase) => count(stream(sentence), phrase)).length;
      if (worth > best.worth) best = { worth, text: sentences.slice(k, k + 2).join(" ") };
    });
  return best.text.length > 240 ? `${best.text.slice(0, 240).replace(/\s+\S*$/, "")} …` : best.text;
}

function marked(text, forms) {
  const here = stream(text);
  const single = new Set(forms.filter((phrase) => count(here, phrase)).flatMap((phrase) => phrase.split(" ")));
  const paragraph = document.createElement("p");
  for (const part of text.split(/([\p{L}\p{M}\p{N}_]+(?:[-‐‑–][\p{L}\p{M}\p{N}_]+)*)/u)) {
    const hit = part && words(part).length && (single.has(joined(part)) || part.split(/[-‐‑–]/).some((word) => single.has(form(word))));
    paragraph.append(hit ? Object.assign(document.createElement("mark"), { textContent: part }) : part);
  }
  return paragraph;
}

function item({ section }, forms) {
  const entry = document.createElement("li");
  const link = entry.appendChild(document.createElement("a"));
  const root = document.documentElement.dataset.content_root ?? "./";
  link.href = `${root}${section.page}.html${section.anchor && "#"}${section.anchor}`;
  link.append(section.title);
  if (section.of) entry.append(Object.assign(document.createElement("span"), { textContent: section.of }));
  entry.append(marked(snippet(section, forms), forms));
  return entry;
}

const SHOWN = 12;
function group(title, results, forms) {
  const part = document.createElement("section");
  part.append(Object.assign(document.createElement("h2"), { textContent: title }));
  const list = part.appendChild(document.createElement("ul"));
  list.append(...results.slice(0, SHOWN).map((result) => item(result, forms)));
  if (results.length > SHOWN) {
    const more = part.appendChild(Object.assign(document.createElement("button"), { textContent: "Show all", type: "button" }));
    more.addEventListener("click", () => {
      list.append(...results.slice(SHOWN).map((result) => item(result, forms)));
      more.remove();
    });
  }
  return part;
}

function show(text) {
  const results = find(text);
  const forms = wanted(text).flat();
  const groups = [["book", "In the book"], ["package", "In the package"]]
    .map(([kind, title]) => [title, results.filter((result) => result.section.kind === kind)])
    .filter(([, some]) => some.length);
  const told = groups.map(([title, some]) => `${some.length} ${title.toLowerCase()}`).join(", ");
  document.getElementById("search-status").textContent = told || (text.trim() ? "Nothing was found." : "");
  document.getElementById("search-results").replaceChildren(...groups.map(([title, some]) => group(title, some, forms)));
}

document.addEventListener("DOMContentLoaded", () => {
  const fields = document.querySelectorAll("form.bd-search input");
  const asked = new URLSearchParams(location.search).get("q") ?? "";
  for (const field of fields) {
    field.value = asked;
    field.addEventListener("input", () => show(field.value));
  }
  const status = Object.assign(document.createElement("p"), { id: "search-status" });
  status.setAttribute("role", "status");
  document.getElementById("search-results").before(status);
  show(asked);
});
