// What calls an app besides HTTP: its timers with their next run, and its queues with what waits in them.

import { appPath } from "./api.js";
import { section } from "./dom.js";
import { absolute, bytes, count, relative } from "./format.js";
import { numbers, table } from "./table.js";

/** Where the events of a trigger come from. */
function source({ kind, schedule, time_zone, queue, container, prefix, suffix }) {
  if (kind === "timer") return `${schedule} ${time_zone}`;
  return kind === "blob" ? `${container}/${prefix ?? ""}*${suffix ?? ""}` : queue;
}

/** The triggers and queues of an app; the part is hidden while there are none. */
export function triggers(page) {
  const functions = table({
    label: "Triggers",
    key: (one) => one.function,
    columns: [
      { title: "Function", text: (one) => one.function },
      { title: "Kind", text: (one) => (one.is_running ? `${one.kind}, runs now` : one.kind) },
      { title: "Source", wide: true, text: source },
      { title: "Last run", text: (one) => relative(one.last_ms, page.now()), hint: (one) => absolute(one.last_ms) },
      { title: "Next run", text: (one) => relative(one.next_ms, page.now()), hint: (one) => absolute(one.next_ms) },
      { title: "Last error", wide: true, text: (one) => one.last_error ?? "–", level: ({ last_error }) => last_error && "bad" },
    ],
  });
  const queues = table({
    label: "Queues",
    key: (one) => one.queue,
    columns: [
      { title: "Queue", text: (one) => one.queue },
      numbers("Backlog", (one) => one.messages),
      numbers("Dead letters", (one) => one.dead, count, { level: (one) => (one.dead > 0 ? "warn" : null) }),
      numbers("Size", (one) => one.bytes, bytes),
    ],
  });
  const node = section("triggers", "Triggers and queues", [], functions.node, queues.node);
  let latest = { triggers: [], queues: [] };

  const read = (name) => ({
    every: 3_000,
    optional: true,
    path: () => page.app && appPath(page.name, `/${name}`),
    use: (answer) => (latest = { ...latest, [name]: answer[name] }),
  });
  return {
    node,
    sources: [read("triggers"), read("queues")],
    tick() {
      functions.update(latest.triggers);
      queues.update(latest.queues);
      functions.node.hidden = latest.triggers.length === 0;
      queues.node.hidden = latest.queues.length === 0;
      node.hidden = functions.node.hidden && queues.node.hidden;
    },
  };
}
