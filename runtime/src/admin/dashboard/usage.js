// What an app used and what it costs at the host's prices.

import { appPath } from "./api.js";
import { section, select } from "./dom.js";
import { gigabyteSeconds, money } from "./format.js";
import { numbers, table } from "./table.js";

const DAY_MS = 86_400_000;

/** The beginning of today, or of the day so many days before. */
export function startOfDay(daysBefore = 0) {
  return new Date().setHours(0, 0, 0, 0) - daysBefore * DAY_MS;
}

/** The usage of an app by group; today's sum also goes to `page.today`. */
export function usage(page) {
  const since = select({ "aria-label": "Since", change: again },
    [["0", "Today"], ["6", "Last 7 days"], ["29", "Last 30 days"]]);
  let currency = "USD";
  let groups = [];
  const inCurrency = (value) => money(value, currency);
  const rows = table({
    label: "Usage",
    key: (one) => one.group,
    columns: [
      { title: "Group", text: (one) => one.group },
      numbers("Executions", (one) => one.executions),
      numbers("On demand", (one) => one.on_demand_gb_s, gigabyteSeconds),
      numbers("Ready, baseline", (one) => one.always_ready_baseline_gb_s, gigabyteSeconds),
      numbers("Ready, running", (one) => one.always_ready_execution_gb_s, gigabyteSeconds),
      numbers("Cost", (one) => one.cost, inCurrency),
      numbers("Per million", (one) => one.cost_per_million, inCurrency),
    ],
  });

  function again() {
    for (const source of sources) source.due = 0;
    page.wake();
  }

  /** All groups as one more row. */
  function withSum(app) {
    if (app.groups.length < 2) return app.groups;
    const sum = (name) => app.groups.reduce((all, group) => all + group[name], 0);
    const parts = ["on_demand_gb_s", "always_ready_baseline_gb_s", "always_ready_execution_gb_s"];
    return [...app.groups, { ...app, group: "together", ...Object.fromEntries(parts.map((name) => [name, sum(name)])) }];
  }

  const read = (days, use) => ({
    every: 30_000,
    optional: true,
    path: () => page.app && appPath(page.name, `/usage?since_ms=${startOfDay(days())}`),
    use(answer) {
      currency = answer.currency;
      const own = answer.apps.find((one) => one.app === page.name);
      if (own) use(own);
    },
  });
  const sources = [
    read(() => 0, (app) => (page.today = { text: inCurrency(app.cost), executions: app.executions })),
    read(() => Number(since.value), (app) => (groups = withSum(app))),
  ];
  return { node: section("cost", "Cost", [since], rows.node), sources, tick: () => rows.update(groups) };
}
