// The log of an app as it grows: at most a thousand lines, with pause and filter.

import { appPath, follow, Refused } from "./api.js";
import { element, section, select, setText } from "./dom.js";
import { absolute, count, plural, timeOfDay } from "./format.js";

const LINES_MAX = 1_000;
const LONG_CHARACTERS = 1_000;
const RETRY_MS = 2_000;
/** Pixels from the end within which the list follows what comes. */
const NEAR_END = 40;

function lineRow(line, pick) {
  // Whatever direction it takes, it ends with its own element.
  const shown = element("bdi", {}, line.text.slice(0, LONG_CHARACTERS));
  const text = element("span", { class: "text", dir: "auto" }, shown);
  if (line.text.length > LONG_CHARACTERS) {
    const click = () => text.replaceChildren(element("bdi", {}, line.text));
    const all = `… show all ${count(line.text.length)} characters`;
    text.append(element("button", { type: "button", class: "quiet", click }, all));
  }
  const id = line.invocation;
  const click = () => pick(id);
  const invocation = id === null
    ? element("span", { class: "id" })
    : element("button", { type: "button", class: "quiet id", title: `Only invocation ${id}`, click }, id.slice(-6));
  return element("li", { class: line.stream },
    element("time", { title: absolute(line.time_ms) }, timeOfDay(line.time_ms)),
    element("span", { class: "stream" }, line.stream), invocation, text);
}

/** The log of an app. It is read from when it first comes into sight until `stop`. */
export function logs(page) {
  const stream = select({ "aria-label": "Stream", change: refilter },
    [["", "All streams"], ["stdout", "stdout"], ["stderr", "stderr"], ["host", "host"]]);
  const filter = element("input", {
    type: "search", placeholder: "Filter text or invocation", "aria-label": "Filter lines", input: refilter,
  });
  const pause = element("button", { type: "button", "aria-pressed": "false", click: togglePause }, "Pause");
  const note = element("span", { class: "muted", role: "status" });
  const list = element("ol", { class: "log panel", "aria-label": "Log lines, the latest last", tabindex: 0 });
  const node = section("logs", "Logs", [note, stream, filter, pause], list);
  let kept = [];
  let shown = 0;
  let isPaused = false;
  let frame = 0;
  let reading = new AbortController();
  let isRead = false;

  const passes = (line) => {
    const wanted = filter.value.toLowerCase();
    const isOfStream = stream.value === "" || line.stream === stream.value;
    return isOfStream && (line.text.toLowerCase().includes(wanted) || line.invocation === wanted);
  };

  /** Whether a stream that begins with this line goes on with the same log; a host that started anew has another. */
  const isKnown = (first) => kept.some((line) => line.sequence === first?.sequence && line.time_ms === first.time_ms);

  function pick(invocation) {
    filter.value = invocation;
    refilter();
  }

  function refilter() {
    list.replaceChildren();
    shown = kept[0]?.sequence ?? 0;
    draw();
  }

  function togglePause() {
    isPaused = !isPaused;
    pause.setAttribute("aria-pressed", isPaused);
    setText(pause, isPaused ? "Go on" : "Pause");
    later();
  }

  function later() {
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(() => {
      if (!isPaused) draw();
      const missed = kept.filter((line) => line.sequence >= shown).length;
      setText(note, isPaused && missed > 0 ? `paused, ${plural(missed, "new line")}` : isPaused ? "paused" : "");
    });
  }

  /** Adds the lines that are not shown yet, and says where some were dropped. */
  function draw() {
    const isAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < NEAR_END;
    const rows = [];
    for (const line of kept.filter((one) => one.sequence >= shown)) {
      if (line.sequence > shown && list.childElementCount + rows.length > 0) {
        rows.push(element("li", { class: "gap" }, `${plural(line.sequence - shown, "line")} dropped`));
      }
      if (passes(line)) rows.push(lineRow(line, pick));
      shown = line.sequence + 1;
    }
    list.append(...rows);
    while (list.childElementCount > LINES_MAX) list.firstElementChild.remove();
    if (isAtEnd) list.scrollTop = list.scrollHeight;
  }

  async function read() {
    const { signal } = reading;
    while (!signal.aborted) {
      let isFirst = true;
      try {
        for await (const lines of follow(appPath(page.name, `/logs?tail=${LINES_MAX}&follow=true`), signal)) {
          if (isFirst && !isKnown(lines[0])) {
            kept = [];
            list.replaceChildren();
            shown = lines[0]?.sequence ?? 0;
          }
          isFirst = false;
          const newest = kept.at(-1)?.sequence ?? -1;
          kept = [...kept, ...lines.filter((line) => line.sequence > newest)].slice(-LINES_MAX);
          later();
        }
      } catch (error) {
        if (signal.aborted) return;
        setText(note, error instanceof Refused ? error.message : "the log is cut off, trying again");
      }
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }

  function begin() {
    reading.abort();
    reading = new AbortController();
    if (isRead && !document.hidden) read();
  }

  const sight = new IntersectionObserver(([entry]) => {
    if (!entry.isIntersecting) return;
    sight.disconnect();
    isRead = true;
    begin();
  });
  sight.observe(node);
  document.addEventListener("visibilitychange", begin);
  return {
    node,
    sources: [],
    stop() {
      document.removeEventListener("visibilitychange", begin);
      sight.disconnect();
      isRead = false;
      begin();
    },
  };
}
