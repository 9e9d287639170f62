// What an app did in the last five minutes: the charts.

import { appPath } from "./api.js";
import { chart, sharedCursor } from "./charts.js";
import { element, section, select } from "./dom.js";
import { bytes, count, duration, number } from "./format.js";
import { series } from "./series.js";

const ALL = "";

/** The charts of an app. `page.decisions` are marked below the instances. */
export function activity(page) {
  const points = series();
  const cursor = sharedCursor();
  const perSecond = (name) => (row) => row[name] / points.seconds();
  const instances = chart({
    title: "Instances", format: count, cursor, least: 4,
    lines: [{ name: "exist", kind: "step", style: "main", of: (row) => row.instances }],
  });
  const charts = [
    chart({
      title: "Requests", format: (value) => `${number(value)}/s`, cursor,
      lines: [
        { name: "ended", kind: "area", style: "main", of: perSecond("invocations") },
        { name: "throttled", kind: "line", style: "warn", of: perSecond("throttled") },
        { name: "failed", kind: "line", style: "bad", of: perSecond("failed") },
      ],
    }),
    chart({
      title: "Latency", format: duration, cursor,
      lines: [
        { name: "p99", kind: "line", style: "soft", of: (row) => row.p99_us },
        { name: "p90", kind: "line", style: "half", of: (row) => row.p90_us },
        { name: "p50", kind: "line", style: "main", of: (row) => row.p50_us },
      ],
    }),
    instances,
    chart({
      title: "Slots", format: count, cursor, least: 4,
      lines: [
        { name: "in flight", kind: "area", style: "main", of: (row) => row.in_flight },
        { name: "waiting", kind: "line", style: "warn", of: (row) => row.waiting },
      ],
    }),
    chart({
      title: "Memory", format: bytes, cursor, least: 1024 * 1024, base: 1024,
      lines: [{ name: "held by guests", kind: "area", style: "main", of: (row) => row.memory_bytes }],
    }),
    chart({
      title: "Processor", format: number, cursor, least: 0.01,
      lines: [{ name: "cores busy", kind: "area", style: "main", of: (row) => row.cpu_us / 1e6 / points.seconds() }],
    }),
  ];
  const group = select({ "aria-label": "Scale group", change: draw }, [[ALL, "All groups"]]);

  function draw() {
    const now = page.app.groups.filter((one) => group.value === ALL || one.group === group.value);
    if (now.length === 0) return;
    const rows = points.rows(now);
    for (const one of charts) one.update(rows, one === instances ? page.decisions : []);
  }

  /** The choice of a group, where there are several; one that went away is not chosen any more. */
  function offerGroups() {
    const names = page.app.groups.map((one) => one.group);
    const offered = Array.from(group.options, (option) => option.value);
    group.hidden = names.length < 2;
    if ([ALL, ...names].join("\n") === offered.join("\n")) return;
    const chosen = names.includes(group.value) ? group.value : ALL;
    group.replaceChildren(...[ALL, ...names].map((value) => element("option", { value }, value || "All groups")));
    group.value = chosen;
  }

  return {
    node: section("activity", "Last five minutes", [group],
      element("div", { class: "charts" }, ...charts.map(({ node }) => node))),
    sources: [{
      every: 0,
      path: () => page.app && appPath(page.name, `/series?since_ms=${points.since()}`),
      use(answer) {
        page.learnTime(answer.now_ms);
        points.add(answer);
        offerGroups();
        draw();
      },
    }],
  };
}
