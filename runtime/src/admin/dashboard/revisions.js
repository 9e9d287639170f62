// The kept revisions of an app, and the way back to one of them.

import { appPath, hasToken } from "./api.js";
import { changeWithToken, confirmed } from "./dialogs.js";
import { element, section, setAttribute, setText } from "./dom.js";
import { absolute, relative } from "./format.js";
import { table } from "./table.js";

/** Scale settings in the words of the flags that set them. */
function settings({ scale = {} }) {
  const text = Object.entries(scale).map(([name, value]) => `${name.replace(/_mb$/, "").replaceAll("_", "-")} ${value}`);
  return text.join(", ") || "defaults";
}

/** The revisions of an app. They are read anew when another one serves. */
export function revisions(page) {
  const outcome = element("p", { class: "outcome-line", role: "status" });
  const rows = table({
    label: "Revisions",
    key: (one) => one.revision,
    columns: [
      { title: "Revision", text: (one) => String(one.revision) },
      { title: "State", text: (one) => (one.active ? "serves" : "kept"), level: (one) => (one.active ? "good" : null) },
      { title: "Kind", text: (one) => one.kind },
      { title: "Made", text: (one) => relative(one.created_ms, page.now()), hint: (one) => absolute(one.created_ms) },
      { title: "Module", text: (one) => one.module.slice(0, 12), hint: (one) => one.module },
      { title: "Scale settings", wide: true, text: (one) => settings(one.manifest) },
      { title: "Roll back", fill: backCell },
    ],
  });
  const locked = element("p", { class: "empty panel" }, "They are shown to holders of the token.");
  let latest = [];
  let readFor = null;

  function backCell(cell) {
    let revision;
    const button = element("button", { type: "button", click: () => rollBack(revision) }, "Roll back");
    cell.append(button);
    return (one) => {
      revision = one.revision;
      button.hidden = one.active;
      setAttribute(button, "aria-label", `Roll back to revision ${one.revision}`);
    };
  }

  async function rollBack(revision) {
    const text = `Revision ${revision} takes all new requests at once, and revision ${page.app.revision} finishes what it `
      + "has begun. You can come back the same way.";
    if (!(await confirmed(`Roll ${page.name} back to revision ${revision}?`, text, `Serve revision ${revision}`))) return;
    setText(outcome, "Rolling back…");
    try {
      const done = await changeWithToken("POST", appPath(page.name, "/rollback"), { revision });
      setText(outcome, done ? `Revision ${done.revision} serves.` : "");
      setAttribute(outcome, "data-level", "good");
    } catch (error) {
      setText(outcome, `It was not rolled back: ${error.message}`);
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
      path: () => (page.app && readFor !== page.app.revision ? appPath(page.name, "/revisions") : null),
      use(answer) {
        readFor = page.app.revision;
        latest = answer.revisions.toSorted((one, other) => other.revision - one.revision);
        page.scale = latest.find((one) => one.active)?.manifest.scale ?? {};
      },
    }],
  };
}
