/* Cards: what a link leads to, for whoever points at it or moves to it with the keyboard. CARDS comes from cards/<page>.js,
   which is loaded when the first card of that page is wanted. On a touch screen a term of the glossary opens its card;
   other links lead on. */
(() => {
  const root = new URL(document.documentElement.dataset.content_root ?? "./", location.href).href;
  const wanted = /^(notebooks\/\w+|book\/\w+(?=\.html#))\.html(?:#((?:equation-eq|fig|sec|thm|ex|term)-.+))?$/;
  const card = Object.assign(document.createElement("div"), { id: "card", hidden: true });
  card.setAttribute("role", "tooltip");
  const pages = new Map();
  let link, timer;

  /* The page and the anchor that a link leads to, if there may be a card. */
  const destination = (at) => (at.href.startsWith(root) ? at.href.slice(root.length).match(wanted) : null);

  async function html(at) {
    const [, page, anchor = ""] = destination(at);
    if (!pages.has(page))
      pages.set(page, new Promise((resolve) => {
        const script = Object.assign(document.createElement("script"), { src: `${root}cards/${page}.js`, onload: resolve });
        document.body.append(script, card);
      }));
    await pages.get(page);
    return window.CARDS[page][anchor];
  }

  function place(at) {
    const box = at.getClientRects()[0];
    const { width, height } = card.getBoundingClientRect();
    const edge = document.documentElement.clientWidth - width - 8;
    const below = box.bottom + height + 8 < innerHeight || box.top < height + 8;
    card.style.left = `${Math.max(8, Math.min(box.left, edge)) + scrollX}px`;
    card.style.top = `${(below ? box.bottom + 6 : box.top - height - 6) + scrollY}px`;
  }

  async function show(at) {
    const shown = await html(at);
    if (!shown || link !== at) return;
    card.innerHTML = shown;
    for (const image of card.querySelectorAll("img")) image.src = root + image.getAttribute("src");
    card.hidden = false;
    at.setAttribute("aria-describedby", "card");
    place(at);
    await Promise.all([...card.querySelectorAll("img")].map((image) => image.decode().catch(() => {})));
    if (link === at) place(at);
  }

  function hide() {
    clearTimeout(timer);
    link?.removeAttribute("aria-describedby");
    link = undefined;
    card.hidden = true;
  }

  function want(at, delay) {
    if (at === link) return clearTimeout(timer);
    hide();
    link = at;
    timer = setTimeout(() => show(at), delay);
  }

  const target = (event) => {
    const at = event.target.closest?.("article a.internal:not(.headerlink), article a.term");
    return at && destination(at) ? at : undefined;
  };
  document.addEventListener("pointerover", (event) => {
    if (event.pointerType === "touch") return;
    const at = target(event);
    if (at) want(at, 250);
    else if (event.target.closest?.("#card")) clearTimeout(timer);
    else if (link) {
      clearTimeout(timer);
      timer = setTimeout(hide, 200);
    }
  });
  document.addEventListener("focusin", (event) => {
    const at = target(event);
    if (at?.matches(":focus-visible")) want(at, 0);
  });
  document.addEventListener("focusout", hide);
  document.addEventListener("keydown", (event) => event.key === "Escape" && hide());
  document.addEventListener("click", (event) => {
    const at = target(event);
    if (event.pointerType === "touch" && at?.matches(".term")) {
      event.preventDefault();
      want(at, 0);
    } else if (!event.target.closest?.("#card")) hide();
  });
})();
