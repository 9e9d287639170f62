// The kept revisions of an app, which of them serve, the way back to one of them, and splits.

import { appPath, hasToken } from "./api.js";
import { askForNumber, changeWithToken, confirmed } from "./dialogs.js";
import { element, section, setAttribute, setText } from "./dom.js";
import { absolute, relative } from "./format.js";
import { table } from "./table.js";

/** Scale settings in the words of the flags that set them. */
function settings({ scale = {} }) {
  const text = Object.entries(scale).map(([name, value]) => `${name.replace(/_mb$/, "").replaceAll("_", "-")} ${value}`);
  return text.join(", ") || "defaults";
}

/** Whether a revision serves, and how much. */
function serves({ percent }) {
  if (percent === 0) return "kept";
  return percent === 100 ? "serves" : `serves ${percent} %`;
}

/** What serves of an app, in a form that can be compared. */
const served = ({ revision, split }) => [revision, split?.revision, split?.percent].join();

/** The revisions of an app. They are read anew when others serve. */
export function revisions(page) {
  const outcome = element("p", { class: "outcome-line", role: "status" });
  const rows = table({
    label: "Revisions",
    key: (one) => one.revision,
    columns: [
      { title: "Revision", text: (one) => String(one.revision) },
      { title: "State", text: serves, level: (one) => (one.percent > 0 ? "good" : null) },
      { title: "Kind", text: (one) => one.kind },
      { title: "Made", text: (one) => relative(one.created_ms, page.now()), hint: (one) => absolute(one.created_ms) },
      { title: "Module", text: (one) => one.module.slice(0, 12), hint: (one) => one.module },
      { title: "Scale settings", wide: true, text: (one) => settings(one.manifest) },
      { title: "Change", fill: changeCell },
    ],
  });
  const locked = element("p", { class: "empty panel" }, "They are shown to holders of the token.");
  let latest = [];
  let readFor = null;

  function changeCell(cell) {
    let shown;
    const serve = element("button", { type: "button", click: () => serveAlone(shown) });
    const divide = element("button", { type: "button", click: () => split(shown.revision) }, "Split");
    cell.append(element("span", { class: "buttons-line" }, serve, divide));
    return (one) => {
      shown = one;
      serve.hidden = divide.hidden = one.active;
      setText(serve, one.percent > 0 ? "Take over" : "Roll back");
      setAttribute(serve, "aria-label", one.percent > 0 ? `Take over: revision ${one.revision}` : `Roll back to revision ${one.revision}`);
      setAttribute(divide, "aria-label", `Split with revision ${one.revision}`);
    };
  }

  async function serveAlone({ revision, percent }) {
    const title = percent > 0 ? `Let revision ${revision} of ${page.name} take over?` : `Roll ${page.name} back to revision ${revision}?`;
    const text = `Revision ${revision} takes all new requests at once; those under way are finished where they began. `
      + "You can come back the same way.";
    if (await confirmed(title, text, `Serve revision ${revision}`)) await send("/rollback", { revision });
  }

  async function split(revision) {
    const { app } = page;
    const now = app.split?.revision === revision ? app.split.percent : 10;
    const text = `Revision ${revision} takes this share of the HTTP requests, revision ${app.revision} the rest. With 0 revision `
      + `${app.revision} takes all of them, with 100 revision ${revision} does, and everything else goes by it, too.`;
    const field = { label: "Percent of HTTP requests", value: now, min: app.split?.revision === revision ? 0 : 1, max: 100 };
    const percent = await askForNumber(`How much does revision ${revision} take?`, text, field, "Set share");
    if (percent !== null) await send("/split", { revision, percent });
  }

  /** Sends a change and says what serves after it. */
  async function send(path, body) {
    setText(outcome, "Changing…");
    setAttribute(outcome, "data-level", null);
    try {
      const done = await changeWithToken("POST", appPath(page.name, path), body);
      const second = done?.split ? `, and revision ${done.split.revision} takes ${done.split.percent} % of the HTTP requests` : "";
      setText(outcome, done ? `Revision ${done.active} serves${second}.` : "");
      setAttribute(outcome, "data-level", "good");
    } catch (error) {
      setText(outcome, `It did not work: ${error.message}`);
      setAttribute(outcome, "data-level", "bad");
    }
    readFor = null;
    page.wake();
  }

  return {
    node: section("revisions", "Revisions", [], outcome, rows.node, locked),
    tick() {
      rows.update(latest);
      rows.node.hidden = latest.length === 0;
      locked.hidden = latest.length > 0 || hasToken();
    },
    sources: [{
      every: 0,
      optional: true,
      path: () => (page.app && readFor !== served(page.app) ? appPath(page.name, "/revisions") : null),
      use(answer) {
        readFor = served(page.app);
        latest = answer.revisions.toSorted((one, other) => other.revision - one.revision);
        page.scale = latest.find((one) => one.active)?.manifest.scale ?? {};
      },
    }],
  };
}
