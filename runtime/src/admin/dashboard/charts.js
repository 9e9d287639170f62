// Small charts of time: lines, areas and steps in SVG, with a read-out for pointer, finger and keys.

import { element, setAttribute, setText } from "./dom.js";
import { hourAndMinute, timeOfDay } from "./format.js";

const HEIGHT = 150;
const PLOT = { left: 52, right: 6, top: 10, bottom: 22 };
const BOTTOM = HEIGHT - PLOT.bottom;
const MINUTE_MS = 60_000;

/** The moment that several charts point at together. */
export function sharedCursor() {
  const charts = [];
  const cursor = {
    at: null,
    join: (draw) => charts.push(draw),
    move(time) {
      cursor.at = time;
      for (const draw of charts) draw();
    },
  };
  return cursor;
}

/** Marks on the axis that are easy to read: 1, 2 or 5 times a power of ten of the unit that fits `most`. */
function ticks(most, base) {
  const unit = base === 1024 ? 1024 ** Math.max(0, Math.floor(Math.log(most) / Math.log(1024))) : 1;
  const rough = most / unit / 3;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((factor) => factor * power >= rough) * power * unit;
  return Array.from({ length: Math.ceil(most / step) + 1 }, (_, index) => index * step);
}

/**
 * A chart. `lines` are `{ name, kind, style, of(row) }`: kind is area, line or step, style a class, and `of` gives a number or
 * null where nothing is known. `format` writes values, `least` is the smallest top of the axis, `base` 1024 for bytes.
 */
export function chart({ title, lines, format, cursor, least = 1, base = 1000 }) {
  const paths = lines.map(({ kind, style }) => ({
    fill: kind === "area" ? element("path", { class: `fill ${style}` }) : null,
    line: element("path", { class: `line ${style}` }),
  }));
  const keys = lines.map(({ name, style }) => {
    const value = element("b");
    return { value, node: element("span", { class: `key ${style}` }, element("i"), `${name} `, value) };
  });
  const grid = element("g", { class: "grid" });
  const marks = element("g", { class: "marks" });
  const pointer = element("line", { class: "pointer", y1: PLOT.top, y2: BOTTOM, visibility: "hidden" });
  const svg = element("svg", {
    height: HEIGHT, tabindex: 0, role: "slider", "aria-valuemin": 0, "aria-orientation": "horizontal",
    pointermove: (event) => point(event.offsetX), pointerdown: (event) => point(event.offsetX),
    pointerleave: () => cursor.move(null), blur: () => cursor.move(null), keydown: onKey,
  }, grid, ...paths.flatMap(({ fill, line }) => (fill ? [fill, line] : [line])), marks, pointer);
  const time = element("span", { class: "muted at" });
  const why = element("span", { class: "why" });
  const node = element("figure", { class: "chart panel" },
    element("figcaption", {}, element("h3", {}, title), time,
      element("span", { class: "keys" }, ...keys.map((key) => key.node)), why), svg);
  let rows = [];
  let reasons = [];
  let width = 0;
  let top = least;

  const x = (index) => PLOT.left + (index / Math.max(1, rows.length - 1)) * (width - PLOT.left - PLOT.right);
  const y = (value) => BOTTOM - (value / top) * (BOTTOM - PLOT.top);
  const indexOf = (ms) => rows.findIndex((row) => row.time_ms >= ms);

  function point(offset) {
    const share = (offset - PLOT.left) / (width - PLOT.left - PLOT.right);
    const index = Math.round(Math.min(1, Math.max(0, share)) * (rows.length - 1));
    if (rows.length > 0) cursor.move(rows[index].time_ms);
  }

  function onKey(event) {
    const at = cursor.at === null ? rows.length - 1 : indexOf(cursor.at);
    const wanted = {
      ArrowLeft: at - 1, ArrowRight: at + 1, PageUp: at - 30, PageDown: at + 30, Home: 0, End: rows.length - 1, Escape: null,
    }[event.key];
    if (wanted === undefined || rows.length === 0) return;
    event.preventDefault();
    cursor.move(wanted === null ? null : rows[Math.min(rows.length - 1, Math.max(0, wanted))].time_ms);
  }

  /** The path of one line; with `floor`, of the area below it. Seconds without a value are gaps. */
  function path({ kind, of }, floor) {
    let text = "";
    let begun = null;
    const close = (index) => (floor && begun !== null ? `V${BOTTOM}H${x(begun).toFixed(1)}Z` : begun === index ? "h0" : "");
    rows.forEach((row, index) => {
      const value = of(row);
      if (value === null) {
        if (begun !== null) text += close(index - 1);
        begun = null;
        return;
      }
      const [across, up] = [x(index).toFixed(1), y(value).toFixed(1)];
      if (begun === null) text += `M${across} ${up}`;
      else text += kind === "step" ? `H${across}V${up}` : `L${across} ${up}`;
      begun ??= index;
    });
    return begun === null ? text : text + close(rows.length - 1);
  }

  function drawGrid(marksUp) {
    const up = marksUp.flatMap((value) => [
      element("line", { x1: PLOT.left, x2: width - PLOT.right, y1: y(value), y2: y(value) }),
      element("text", { x: PLOT.left - 8, y: y(value) + 4, "text-anchor": "end" }, format(value)),
    ]);
    const minutes = rows.flatMap(({ time_ms }, index) => {
      const isShown = time_ms % MINUTE_MS === 0 && x(index) > PLOT.left + 14 && x(index) < width - 18;
      return isShown ? [element("text", { x: x(index), y: HEIGHT - 5, "text-anchor": "middle" }, hourAndMinute(time_ms))] : [];
    });
    grid.replaceChildren(...up, ...minutes);
  }

  function draw() {
    if (width === 0 || rows.length === 0) return;
    const most = Math.max(least, ...lines.flatMap(({ of }) => rows.map((row) => of(row) ?? 0)));
    const marksUp = ticks(most, base);
    top = marksUp.at(-1);
    drawGrid(marksUp);
    lines.forEach((line, index) => {
      paths[index].line.setAttribute("d", path(line, false));
      paths[index].fill?.setAttribute("d", path(line, true));
    });
    marks.replaceChildren(...reasons.filter(({ time_ms }) => indexOf(time_ms) > 0).map(({ time_ms, action }) => {
      const across = x(indexOf(time_ms)).toFixed(1);
      return element("path", { class: action, d: `M${across} ${BOTTOM}l-3.5 6h7z` });
    }));
    drawCursor();
  }

  function drawCursor() {
    if (rows.length === 0) return;
    const found = cursor.at === null ? -1 : indexOf(cursor.at);
    const row = rows.at(found);
    const values = lines.map(({ of }) => format(of(row)));
    keys.forEach(({ value }, index) => setText(value, values[index]));
    setText(time, found < 0 ? "" : timeOfDay(row.time_ms));
    const reason = found < 0 ? null : reasons.findLast(({ time_ms }) => Math.abs(time_ms - row.time_ms) < 2_500);
    setText(why, reason?.text ?? "");
    setAttribute(pointer, "visibility", found < 0 ? "hidden" : "visible");
    setAttribute(pointer, "x1", x(Math.max(0, found)).toFixed(1));
    setAttribute(pointer, "x2", x(Math.max(0, found)).toFixed(1));
    const said = values.map((value, index) => `${lines[index].name} ${value}`);
    describe(found < 0 ? rows.length - 1 : found, row, reason ? [...said, reason.text] : said);
  }

  /** For those who cannot see it: the span as its name, the moment as its value. Under the focus only keys change it. */
  function describe(index, row, values) {
    const most = (of) => format(Math.max(...rows.map((one) => of(one) ?? 0)));
    const span = lines.map(({ name, of }) => `${name} at most ${most(of)}`).join(", ");
    if (document.activeElement === svg && cursor.at === null) return;
    setAttribute(svg, "aria-label", `${title}, last five minutes: ${span}. Arrow keys read it out.`);
    setAttribute(svg, "aria-valuemax", rows.length - 1);
    setAttribute(svg, "aria-valuenow", index);
    setAttribute(svg, "aria-valuetext", `${timeOfDay(row.time_ms)}: ${values.join(", ")}`);
  }

  cursor.join(drawCursor);
  new ResizeObserver(([entry]) => {
    width = entry.contentRect.width;
    draw();
  }).observe(svg);
  return {
    node,
    /** Draws other rows, `{ time_ms, … }` second by second, and decisions below them. */
    update(shown, decisions = []) {
      [rows, reasons] = [shown, decisions];
      draw();
    },
  };
}
