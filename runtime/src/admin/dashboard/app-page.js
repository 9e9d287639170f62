// One app: how it does now, what it did, why it scaled, what it wrote and what it costs.

import { activity } from "./activity.js";
import { appPath } from "./api.js";
import { element, setAttribute, setText, tiles } from "./dom.js";
import { absolute, bytes, count, duration, megabytes, relative } from "./format.js";
import { invocations } from "./invocations.js";
import { logs } from "./logs.js";
import { revisions } from "./revisions.js";
import { scaling } from "./scaling.js";
import { settings } from "./settings.js";
import { showLoad, state, totals, withSplit } from "./state.js";
import { triggers } from "./triggers.js";
import { usage } from "./usage.js";

/** Where an app answers, if the host says so in a way that is a web address. */
function address(host, app) {
  const url = URL.parse(app.path, host.functions);
  return url && /^https?:$/.test(url.protocol) ? url.href : null;
}

/** The page of the app `name`. What its parts share is in `page`. */
export function appPage(name, shared) {
  const page = {
    name, app: null, host: null, scale: null, today: null, decisions: [], wake: shared.wake, offset: 0,
    /** The time on the host's clock. */
    now: () => Date.now() + page.offset,
    learnTime: (ms) => (page.offset = ms - Date.now()),
  };
  const figures = tiles({
    requests: "Requests", failed: "Failed", p50: "Latency p50", p99: "Latency p99", instances: "Instances",
    in_flight: "In flight", waiting: "Waiting", memory: "Memory", cost: "Cost today",
  });
  const word = element("span", { class: "state" });
  const link = element("a", { target: "_blank", rel: "noreferrer" });
  const facts = element("p", { class: "facts-line" });
  const scaled = element("p", { class: "facts-line" });
  const parts = [activity, scaling, triggers, invocations, logs, revisions, settings, usage].map((part) => part(page));
  const contents = parts.map(({ node }) => {
    const title = node.querySelector("h2").textContent;
    return { node, item: element("li", {}, element("a", { href: `#/apps/${encodeURIComponent(name)}/${node.id}` }, title)) };
  });
  const node = element("div", { class: "page", hidden: true },
    element("nav", { class: "crumbs", "aria-label": "Where you are" }, element("a", { href: "#/" }, "← Overview")),
    element("div", { class: "title" }, element("h1", {}, name), word, link),
    facts, scaled, figures.node,
    element("nav", { class: "contents", "aria-label": "Parts of this page" },
      element("ul", {}, ...contents.map(({ item }) => item))),
    ...parts.map((part) => part.node));

  function showApp(app) {
    page.app = app;
    const now = totals(app);
    const { level, word: text, why } = state(now);
    setText(word, text);
    setAttribute(word, "data-level", level);
    setAttribute(word, "title", why);
    setText(facts, [
      `Revision ${app.revision}`, ...(app.split ? [`${app.split.percent} % to revision ${app.split.revision}`] : []), app.kind, `made ${relative(app.created_ms, page.now())}`,
      `${megabytes(app.memory_mb)} an instance`, `${duration(app.timeout_ms * 1_000)} timeout`,
      `${duration(app.idle_timeout_ms * 1_000)} idle`, `isolation ${app.isolation}`,
    ].join(", "));
    setAttribute(facts, "title", `Module ${app.module}, made ${absolute(app.created_ms)}`);
    showLoad(figures, now);
    figures.p50.set(duration(now.p50_us));
    figures.p99.set(duration(now.p99_us), { small: `last ${now.seconds} s` });
    const part = (used, most, unit) => ({ small: `of ${count(most)}${unit}`, share: most > 0 ? used / most : 0 });
    const slots = withSplit(app).reduce((all, group) => all + group.instances * group.concurrency, 0);
    figures.instances.set(count(now.instances), part(now.instances, now.instances_max, ""));
    figures.in_flight.set(count(now.in_flight), part(now.in_flight, slots, " slots"));
    const reserved = withSplit(app).reduce((all, one) => all + one.instances * (one.memory_mb ?? app.memory_mb), 0);
    figures.memory.set(bytes(now.memory_bytes), { small: `${megabytes(reserved)} reserved` });
    node.hidden = false;
  }

  function showHost(host) {
    page.host = host;
    shared.showHost(host);
    const href = address(host, page.app);
    setAttribute(link, "href", href);
    setText(link, href ?? "");
  }

  return {
    title: `${name} · wfn`,
    node,
    sources: [
      { every: 0, path: () => appPath(name), use: showApp },
      { every: 5_000, path: () => page.app && "/v1/host", use: showHost },
      ...parts.flatMap(({ sources }) => sources),
    ],
    tick() {
      if (page.app === null) return;
      for (const part of parts) part.tick?.();
      figures.cost.set(page.today?.text ?? "–", { small: page.today ? `${count(page.today.executions)} executions` : "" });
      const last = page.decisions.at(-1);
      setText(scaled, last ? `${relative(last.time_ms, page.now())}: ${last.text}` : "Not scaled since the host started");
      for (const { node, item } of contents) item.hidden = node.hidden;
    },
    /** Brings a part of the page into sight. */
    show(id) {
      const part = parts.find(({ node }) => node.id === id)?.node;
      part?.scrollIntoView();
      part?.querySelector("h2").focus({ preventScroll: true });
    },
    stop: () => parts.forEach((part) => part.stop?.()),
  };
}
