// Building the page and changing it in place. Text from the host only ever becomes text, never markup.

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "g", "path", "line", "text"]);

/** Makes an element. A property that is a function listens to the event of its name; one that is null or false is left out. */
export function element(tag, properties = {}, ...children) {
  const node = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

/** Sets the text of an element, if it is another. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Sets an attribute, if it is another; null takes it away. */
export function setAttribute(node, name, value) {
  if (value === null || value === undefined) node.removeAttribute(name);
  else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

/**
 * Keeps one child for each item: `make(item)` gives `{ node, update(item) }`. Children that stay are updated
 * where they are, so that focus, selection and scrolling stay too.
 */
export function keyedList(parent, key, make) {
  const kept = new Map();
  return (items, keepOrder = false) => {
    const wanted = new Set(items.map(key));
    for (const [known, { node }] of kept) {
      if (!wanted.has(known)) {
        node.remove();
        kept.delete(known);
      }
    }
    let place = parent.firstElementChild;
    for (const item of items) {
      const known = kept.get(key(item));
      const child = known ?? make(item);
      kept.set(key(item), child);
      child.update(item);
      if (child.node === place) place = place.nextElementSibling;
      else if (!known || !keepOrder) parent.insertBefore(child.node, place);
    }
  };
}

/** A part of a page with its heading; `tools` stand beside the heading. */
export function section(id, title, tools, ...children) {
  const heading = element("h2", { id: `${id}-title`, tabindex: "-1" }, title);
  const head = element("div", { class: "section-head" }, heading, ...tools);
  return element("section", { id, "aria-labelledby": `${id}-title` }, head, ...children);
}

/** A label around its field. */
export function labelled(label, field, hint = null) {
  const name = element("span", { class: "label" }, label);
  return element("label", { class: "field" }, name, field, hint && element("span", { class: "hint" }, hint));
}

/** A list to choose from: `choices` are pairs of value and text. */
export function select(properties, choices) {
  return element("select", properties, ...choices.map(([value, text]) => element("option", { value }, text)));
}

/** A function that says whether `node` is on the screen, or nearly. */
export function onScreen(node) {
  let isSeen = false;
  new IntersectionObserver((entries) => (isSeen = entries.at(-1).isIntersecting), { rootMargin: "200px" }).observe(node);
  return () => isSeen;
}

/** A figure with its name: `set` takes the value, a note, a level (good, warn, bad) and a share from 0 to 1. */
export function tile(label) {
  const value = element("span", { class: "value" });
  const note = element("span", { class: "note" });
  const bar = element("meter", { min: 0, max: 1, hidden: true, "aria-label": label });
  const node = element("div", { class: "tile" }, element("dt", {}, label), element("dd", {}, value, bar, note));
  return {
    node,
    set(text, { small = "", level = null, share = null } = {}) {
      setText(value, text);
      setText(note, small);
      setAttribute(node, "data-level", level);
      bar.hidden = share === null;
      if (share !== null) bar.value = share;
    },
  };
}

/** Tiles by name, in a list. */
export function tiles(labels) {
  const made = Object.fromEntries(Object.entries(labels).map(([name, label]) => [name, tile(label)]));
  return { ...made, node: element("dl", { class: "tiles" }, ...Object.values(made).map(({ node }) => node)) };
}
