// Tables that are updated cell by cell, can be sorted, and become cards on a narrow screen.

import { element, keyedList, setAttribute, setText } from "./dom.js";
import { count } from "./format.js";

/** A column of numbers, which `of(item)` gives and `format` writes. */
export const numbers = (title, of, format = count, more = {}) => ({
  title, numeric: true, text: (item) => format(of(item)), order: (item) => of(item) ?? 0, ...more,
});

/**
 * A table. A column is `{ title, text(item), numeric, wide, hint(item), level(item), order(item), fill(cell) }`: `hint`
 * becomes the title of the cell, `level` its colour, `order` is what it is sorted by, and `fill` builds the cell and
 * gives the function that updates it. With `sort`, which is `{ column, down }` and kept by the caller, it can be sorted.
 */
export function table({ label, columns, key, sort = null }) {
  const body = element("tbody", { role: "rowgroup" });
  const heads = columns.map((column) => head(column));
  const row = element("tr", { role: "row" }, ...heads.map(({ node }) => node));
  const node = element("div", { class: "table" },
    element("table", { role: "table", "aria-label": label },
      element("thead", { role: "rowgroup" }, row), body));
  const list = keyedList(body, key, makeRow);
  let items = [];

  function head(column) {
    const properties = { role: "columnheader", scope: "col", class: column.numeric ? "numeric" : null };
    if (sort === null) return { column, node: element("th", properties, column.title) };
    const click = () => {
      sort.down = sort.column === column.title ? !sort.down : Boolean(column.numeric);
      sort.column = column.title;
      arrange(false);
    };
    return { column, node: element("th", properties, element("button", { type: "button", click }, column.title)) };
  }

  function makeRow() {
    const cells = columns.map(makeCell);
    return {
      node: element("tr", { role: "row" }, ...cells.map(({ node }) => node)),
      update: (item) => cells.forEach(({ update }) => update(item)),
    };
  }

  function makeCell(column) {
    const kind = column.numeric ? "numeric" : column.wide ? "wide" : null;
    const cell = element("td", { role: "cell", class: kind, "data-label": column.title });
    const show = column.fill?.(cell) ?? ((item) => setText(cell, column.text(item)));
    const update = (item) => {
      show(item);
      if (column.hint) setAttribute(cell, "title", column.hint(item));
      if (column.level) setAttribute(cell, "data-level", column.level(item));
    };
    return { node: cell, update };
  }

  function arrange(keepOrder) {
    const by = columns.find((column) => column.title === sort?.column);
    if (by) {
      const [before, after] = sort.down ? [1, -1] : [-1, 1];
      const compare = ([one], [other]) => (one < other ? before : one > other ? after : 0);
      items = items.map((item) => [by.order(item), item]).sort(compare).map(([, item]) => item);
      const way = sort.down ? "descending" : "ascending";
      for (const { column, node } of heads) setAttribute(node, "aria-sort", column === by ? way : null);
    }
    list(items, keepOrder);
  }

  return {
    node,
    /** Shows these items. Rows do not change places under a pointer or the focus. */
    update(shown) {
      items = shown;
      arrange(sort !== null && body.matches(":hover, :focus-within"));
    },
  };
}
