// All apps of the host at a glance: what runs, what waits, what it costs.

import { element, section, setAttribute, setText, tiles } from "./dom.js";
import { bytes, count, duration, megabytes, money, percent, perSecond } from "./format.js";
import { showLoad, state, totals, withSplit } from "./state.js";
import { numbers, table } from "./table.js";
import { startOfDay } from "./usage.js";

/** What somebody has chosen, kept while other pages are shown. */
const sort = { column: "State", down: false };
let search = "";

function nameCell(cell) {
  const link = element("a");
  const note = element("span", { class: "muted" });
  cell.append(link, " ", note);
  return ({ app }) => {
    setText(link, app.app);
    setAttribute(link, "href", `#/apps/${encodeURIComponent(app.app)}`);
    const second = app.split ? `, ${app.split.percent} % ${app.split.revision}` : "";
    setText(note, `${app.kind}, revision ${app.revision}${second}`);
  };
}

function stateCell(cell) {
  const word = element("span", { class: "state" });
  cell.append(word);
  return ({ state }) => {
    setText(word, state.word);
    setAttribute(word, "data-level", state.level);
    setAttribute(word, "title", state.why);
  };
}

function firstSteps() {
  const step = (command, what) => element("li", {}, element("code", {}, command), element("span", { class: "muted" }, what));
  return element("section", { class: "panel first", hidden: true, "aria-labelledby": "first-title" },
    element("h2", { id: "first-title" }, "No apps yet"),
    element("p", {}, "Deploy the first one from a terminal:"),
    element("ol", {},
      step("wfn new hello", "makes a function to begin with"),
      step("wfn deploy module.wasm", "makes a module answer on /module/")));
}

/** The page of all apps. */
export function overview(shared) {
  const figures = tiles({
    apps: "Apps", requests: "Requests", failed: "Failed", in_flight: "In flight", waiting: "Waiting",
    instances: "Instances", reserved: "Memory reserved", held: "Memory held", cost: "Cost today",
  });
  const input = element("input", {
    type: "search", placeholder: "Search name or state", "aria-label": "Search apps", value: search, input: seek,
  });
  const found = element("span", { class: "muted", role: "status" });
  const measured = (title, name, format, more) => numbers(title, ({ now }) => now[name], format, more);
  const columns = [
    { title: "App", fill: nameCell, order: ({ app }) => app.app },
    { title: "State", fill: stateCell, order: ({ state }) => state.rank },
    measured("Requests", "requests", perSecond),
    { ...measured("Failed", "failed"), text: ({ now }) => percent(now.failed, now.requests) },
    measured("p50", "p50_us", duration),
    measured("p99", "p99_us", duration),
    measured("Instances", "instances", count, { hint: ({ now }) => `of ${count(now.instances_max)}` }),
    measured("In flight", "in_flight"),
    measured("Waiting", "waiting", count, { level: ({ now }) => (now.waiting > 0 ? "warn" : null) }),
    measured("Memory", "memory_bytes", bytes),
    numbers("Cost today", ({ cost }) => cost, (cost) => money(cost, currency)),
  ];
  const rows = table({ label: "Apps", columns, sort, key: ({ app }) => app.app });
  const lost = table({
    label: "Apps that are not served", key: ({ app }) => app,
    columns: [{ title: "App", text: ({ app }) => app }, { title: "Reason", wide: true, text: ({ reason }) => reason }],
  });
  const broken = section("broken", "Not served", [], lost.node);
  const first = firstSteps();
  const apps = section("apps", "Apps", [found, input], rows.node);
  const node = element("div", { class: "page", hidden: true }, element("h1", {}, "Overview"), figures.node, broken, apps, first);
  let all = [];
  let costs = new Map();
  let currency = "USD";

  function seek() {
    search = input.value;
    show();
  }

  function show() {
    const words = search.toLowerCase().split(/\s+/);
    const text = ({ app, state }) => [app.app, state.word, app.kind, ...app.hosts].join(" ").toLowerCase();
    const shown = all.filter((one) => words.every((word) => text(one).includes(word)));
    rows.update(shown.map((one) => ({ ...one, cost: costs.get(one.app.app) })));
    setText(found, shown.length === all.length ? "" : `${count(shown.length)} of ${count(all.length)}`);
  }

  function useApps(answer) {
    all = answer.apps.map((app) => {
      const now = totals(app);
      return { app, now, state: state(now) };
    });
    lost.update(answer.broken);
    broken.hidden = answer.broken.length === 0;
    first.hidden = all.length > 0;
    apps.hidden = all.length === 0;
    const together = totals({ groups: answer.apps.flatMap(withSplit) });
    const running = all.filter(({ now }) => now.requests > 0 || now.in_flight > 0).length;
    const small = broken.hidden ? `${count(running)} running` : `${count(answer.broken.length)} not served`;
    figures.apps.set(count(all.length), { small, level: broken.hidden ? null : "bad" });
    figures.instances.set(count(together.instances), { small: "in all apps" });
    showLoad(figures, together);
    show();
    node.hidden = false;
  }

  function useHost(host) {
    shared.showHost(host);
    const part = (tile, format, used, most) => {
      const share = used / most;
      const level = share > 0.95 ? "bad" : share > 0.8 ? "warn" : null;
      tile.set(format(used), { small: `of ${format(most)}`, share, level });
    };
    part(figures.reserved, megabytes, host.memory_reserved_mb, host.memory_quota_mb);
    part(figures.held, bytes, host.guest_memory_bytes, host.guest_memory_limit_bytes);
  }

  function useUsage({ apps: used, total, currency: theirs }) {
    currency = theirs;
    costs = new Map(used.map(({ app, cost }) => [app, cost]));
    figures.cost.set(money(total.cost, currency), { small: `${count(total.executions)} executions` });
    show();
  }

  figures.cost.set("–");
  return {
    title: "wfn",
    node,
    sources: [
      { every: 0, path: () => "/v1/host", use: useHost },
      { every: 0, path: () => "/v1/apps", use: useApps },
      { every: 30_000, optional: true, path: () => `/v1/usage?since_ms=${startOfDay()}`, use: useUsage },
    ],
  };
}
