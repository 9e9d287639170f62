// Why an app got more or fewer instances, or did not, in words; and its groups as they stand.

import { appPath } from "./api.js";
import { element, keyedList, section, setAttribute, setText } from "./dom.js";
import { absolute, bytes, count, duration, megabytes, plural, relative } from "./format.js";
import { numbers, table } from "./table.js";

const SHOWN = 100;
const SIGNS = { added: "+", retired: "−", withheld: "" };

/** What was done, as a sentence without its reason. */
function deed({ action, count: many, before, after }) {
  const change = `${count(before.instances)} → ${count(after.instances)}`;
  if (action === "added") return `Added ${plural(many, "instance")} (${change})`;
  if (action === "retired") return `Retired ${plural(many, "instance")} (${change})`;
  return `No new instance for ${plural(many, "invocation")}`;
}

/** Why, with the numbers that decided. A reason that only a newer host knows stays as it is. */
function because({ reason, revision, before }, page) {
  switch (reason) {
    case "always-ready": return "these are always ready";
    case "every-slot-taken": return `every slot was taken, ${count(before.in_flight)} in flight`;
    case "maximum-instances": return `at the maximum, ${plural(before.instances, "instance")} exist`;
    case "pace": return "the burst is used up, more come at the rate per second";
    case "memory-quota": return `no room in the memory quota, ${megabytes(before.quota_reserved_mb)} are reserved`;
    case "host-memory": return `guests hold all memory they may, ${bytes(before.guest_memory_bytes)}`;
    case "idle": return `idle for ${duration(page.app.idle_timeout_ms * 1_000)}`;
    case "room-for-others": return "idle, and another app needed the room";
    case "revision-ended": return `revision ${count(revision)} ended`;
    default: return reason;
  }
}

/** The sentence of a decision. */
const inWords = (decision, page) => `${deed(decision)}: ${because(decision, page)}`;

function decisionRow(page) {
  const time = element("time");
  const sign = element("span", { class: "sign" });
  const text = element("span", { class: "sentence" });
  const state = element("span", { class: "muted" });
  const node = element("li", {}, time, sign, text, state);
  return {
    node,
    update(decision) {
      const { action, after } = decision;
      setText(time, relative(decision.until_ms, page.now()));
      setAttribute(time, "title", `${absolute(decision.time_ms)} to ${absolute(decision.until_ms)}`);
      setAttribute(node, "class", action);
      setText(sign, `${SIGNS[action] ?? ""}${count(decision.count)}`);
      setText(text, inWords(decision, page));
      setText(state, `then ${count(after.in_flight)} in flight, ${count(after.waiting)} waiting`);
    },
  };
}

/** The groups and the decisions of an app; the decisions also go to `page.decisions`. */
export function scaling(page) {
  const list = element("ol", { class: "decisions panel", tabindex: 0, "aria-label": "Scale decisions, the latest first" });
  const empty = element("p", { class: "empty panel" }, "It has not scaled since the host started.");
  const show = keyedList(list, ({ time_ms, reason, before }) => `${time_ms} ${reason} ${before.instances}`, () => decisionRow(page));
  const coldStarts = ({ cold_start_us: took }) =>
    `half of them; p99 ${duration(took?.p99)}, longest ${duration(took?.max)}`;
  const waitingLevel = ({ waiting }) => (waiting > 0 ? "warn" : null);
  const dynamic = ({ concurrency_is_dynamic }) => (concurrency_is_dynamic ? "it changes by itself" : null);
  const groups = table({
    label: "Scale groups",
    key: (group) => group.group,
    columns: [
      { title: "Group", text: (group) => group.group },
      numbers("Instances", (group) => group.instances),
      numbers("Peak", (group) => group.instances_peak),
      numbers("Always ready", (group) => group.always_ready),
      numbers("Maximum", (group) => group.max_instances, count, { hint: () => "beyond the always-ready ones" }),
      numbers("Concurrency", (group) => group.concurrency, count, { hint: dynamic }),
      numbers("In flight", (group) => group.in_flight),
      numbers("Waiting", (group) => group.waiting, count, { level: waitingLevel }),
      numbers("Invocations", (group) => group.invocations, count, { hint: () => "since the host started" }),
      numbers("Throttled", (group) => group.throttled),
      numbers("Failed", (group) => group.failed),
      numbers("Cold", (group) => group.cold),
      numbers("Cold start", (group) => group.cold_start_us?.p50, duration, { hint: coldStarts }),
      numbers("Memory", (group) => group.memory_bytes, bytes),
    ],
  });
  let latest = [];

  function tick() {
    groups.update(page.app.groups);
    show(latest);
    list.hidden = latest.length === 0;
    empty.hidden = latest.length > 0;
  }

  return {
    node: section("scaling", "Scaling", [], groups.node, element("h3", {}, "Decisions"), list, empty),
    tick,
    sources: [{
      every: 2_000,
      path: () => page.app && appPath(page.name, "/scaling"),
      use({ decisions }) {
        latest = decisions.slice(-SHOWN).reverse();
        page.decisions = decisions.map((decision) => ({
          time_ms: decision.time_ms, action: decision.action, text: inWords(decision, page),
        }));
      },
    }],
  };
}
