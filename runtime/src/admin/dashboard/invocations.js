// The recent invocations of an app; one that failed opens to its reason with the guest's backtrace.

import { appPath } from "./api.js";
import { element, keyedList, onScreen, section, select, setAttribute, setText } from "./dom.js";
import { absolute, bytes, count, duration, relative } from "./format.js";

const OUTCOMES = {
  answered: "answered", throttled: "throttled", "timed-out": "timed out", trapped: "trapped",
  "memory-limit": "memory limit", "no-response": "no response", "invalid-response": "invalid response",
  "start-failed": "start failed", "worker-lost": "worker lost", cancelled: "cancelled",
};
const LEVELS = { answered: null, cancelled: null, throttled: "warn" };
const LIMIT = 100;

/** What is known of one invocation, as pairs of name and text. */
function facts(one) {
  const all = [
    ["Invocation", one.invocation], ["Ended", absolute(one.time_ms)], ["Group", one.group],
    ["Revision", count(one.revision)], ["Instance", count(one.instance)],
    ["Waited for slot and core", duration(one.waited_us)],
    ["Worker made in", one.started_us === 0 ? "it was there" : duration(one.started_us)],
    ["Ran", duration(one.ran_us)], ["Processor", duration(one.cpu_us)], ["Memory", bytes(one.memory_bytes)],
    ["Request", bytes(one.request_bytes)], ["Answer", bytes(one.response_bytes)], ["Path", `${one.method} ${one.path}`],
  ];
  const rows = all.map(([name, text]) => element("div", {}, element("dt", {}, name), element("dd", { dir: "auto" }, text)));
  return element("dl", { class: "facts" }, ...rows);
}

function row(one, page, changed) {
  const time = element("time", { title: absolute(one.time_ms) });
  const outcome = element("span", { class: "outcome" }, OUTCOMES[one.outcome] ?? one.outcome);
  setAttribute(outcome, "data-level", one.outcome in LEVELS ? LEVELS[one.outcome] : "bad");
  const waited = one.waited_us > 0 ? `waited ${duration(one.waited_us)}` : "";
  const summary = element("summary", {},
    time,
    element("span", { class: "status-code" }, one.status === null ? "–" : String(one.status)),
    outcome,
    element("span", { class: "path" }, element("span", { class: "muted" }, one.method), " ", element("bdi", {}, one.path)),
    element("span", { class: "tags" }, one.cold ? element("span", { class: "tag" }, "cold") : null, waited),
    element("span", { class: "ran" }, duration(one.ran_us)));
  const toggle = () => {
    while (summary.nextSibling) summary.nextSibling.remove();
    if (node.open) node.append(facts(one));
    if (node.open && one.detail) {
      node.append(element("pre", { tabindex: 0, "aria-label": "Reason and backtrace" }, one.detail));
    }
    changed();
  };
  const node = element("details", { toggle }, summary);
  return { node: element("li", {}, node), update: () => setText(time, relative(one.time_ms, page.now())) };
}

/** The invocations of an app. The list stands still while one of them is open. */
export function invocations(page) {
  const outcomes = Object.entries(OUTCOMES).map(([code, text]) => [`outcome=${code}`, `Outcome: ${text}`]);
  const which = select({ "aria-label": "Which invocations", change: choose },
    [["", "All"], ["failed=true", "Failed"], ...outcomes]);
  const note = element("span", { class: "muted", role: "status" });
  const list = element("ol", { class: "invocations panel", hidden: true, "aria-label": "Invocations, the latest first" });
  const empty = element("p", { class: "empty panel", hidden: true }, "There is none.");
  const isOpen = () => list.querySelector("details[open]") !== null;
  const show = keyedList(list, (one) => one.invocation, (one) => row(one, page, again));
  const node = section("invocations", "Invocations", [note, which], list, empty);
  const isSeen = onScreen(node);
  let latest = [];
  let sampleRate = 1;

  function choose() {
    latest = [];
    show(latest);
    again();
  }

  function again() {
    source.due = 0;
    page.wake();
  }

  function tick() {
    show(latest);
    const sampled = sampleRate > 1 ? `one of ${count(sampleRate)} is kept` : "";
    setText(note, isOpen() ? "stands still while one is open" : sampled);
  }

  const source = {
    every: 2_000,
    path: () => (page.app && isSeen() && !isOpen() ? appPath(page.name, `/invocations?limit=${LIMIT}&${which.value}`) : null),
    use(answer) {
      latest = answer.invocations;
      sampleRate = answer.sample_rate;
      empty.hidden = latest.length > 0;
      list.hidden = latest.length === 0;
    },
  };
  return { node, sources: [source], tick };
}
