// The scale settings of an app, and changing them, which makes a new revision.

import { appPath } from "./api.js";
import { changeWithToken } from "./dialogs.js";
import { element, labelled, section, select, setAttribute, setText } from "./dom.js";
import { megabytes } from "./format.js";

const whole = (min, max) => ({ type: "number", min, max, step: 1, required: true, inputmode: "numeric" });
const span = { type: "text", required: true, pattern: "[0-9]+(ms|s|m|h)", title: "A number with a unit: 500ms, 30s, 5m, 1h" };
const orWord = (word, digits) => ({
  type: "text", required: true, pattern: `[0-9]{1,${digits}}|${word}`, title: `A whole number, or ${word}`,
});

/** A time in milliseconds as the settings write it. */
const asSpan = (ms) => (ms % 1_000 === 0 ? `${ms / 1_000}s` : `${ms}ms`);

/** A setting as the API takes it: numbers are numbers, words are text. */
const asSetting = (text) => (/^[0-9]+$/.test(text) ? Number(text) : text);

/** The settings in force, as text, by their names in the API. */
function inForce({ app, scale }) {
  const group = app.groups.find((one) => one.group === "http") ?? app.groups[0];
  const values = {
    memory_mb: app.memory_mb,
    concurrency: group.concurrency_is_dynamic ? "dynamic" : group.concurrency,
    always_ready: group.always_ready,
    max_instances: group.max_instances,
    scale_out_burst: group.scale_out_burst,
    scale_out_per_second: group.scale_out_per_second,
    idle_timeout: asSpan(app.idle_timeout_ms),
    timeout: asSpan(app.timeout_ms),
    isolation: app.isolation,
    workers: scale?.workers ?? "auto",
  };
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, String(value)]));
}

/** The form. What is being edited is not overwritten by what the host says meanwhile. */
export function settings(page) {
  const fields = {
    memory_mb: ["Memory class", select({}, [["2048", "2,048 MB"], ["4096", "4,096 MB"]]), "of one instance"],
    concurrency: ["Concurrency", element("input", orWord("dynamic", 4)), "of one instance: 1 to 1000, or dynamic"],
    always_ready: ["Always ready", element("input", whole(0, 1_000)), "instances that exist before the first request"],
    max_instances: ["Maximum instances", element("input", whole(1, 1_000)), "beyond the always-ready ones"],
    scale_out_burst: ["Scale-out burst", element("input", whole(1, 1_000)), "instances that may be added at once"],
    scale_out_per_second: ["Scale-out per second", element("input", whole(1, 1_000)), "and after that each second"],
    idle_timeout: ["Idle timeout", element("input", span), "until an instance is retired: 60s, 5m"],
    timeout: ["Timeout", element("input", span), "of one invocation, waiting and computing"],
    isolation: ["Isolation", select({}, [["reuse", "reuse"], ["fresh", "fresh"]]), "a worker for many invocations, or for one"],
    workers: ["Workers", element("input", orWord("auto", 2)), "of one instance: 1 to 10, or auto"],
  };
  const inputs = Object.entries(fields).map(([name, [, field]]) => [name, field]);
  const sum = element("output", { class: "hint" });
  const outcome = element("p", { class: "outcome-line", role: "status" });
  const save = element("button", { type: "submit", class: "main" }, "Apply");
  const undo = element("button", { type: "button", click: fill }, "Undo");
  const form = element("form", { class: "panel settings", submit: apply, input: changed },
    element("div", { class: "fields" }, ...Object.values(fields).map(([label, field, hint]) => labelled(label, field, hint))),
    element("div", { class: "buttons" }, sum, undo, save), outcome);
  let shown = null;

  const changes = () => inputs.filter(([name, field]) => shown && field.value.trim() !== shown[name]);

  function fill() {
    shown = inForce(page);
    for (const [name, field] of inputs) field.value = shown[name];
    fields.workers[1].closest("label").hidden = page.app.kind !== "p3";
    changed();
  }

  function changed() {
    const isChanged = changes().length > 0;
    save.disabled = undo.disabled = !isChanged;
    for (const [name, field] of inputs) setAttribute(field, "data-changed", field.value.trim() === shown[name] ? null : "");
    const [each, ready] = [Number(fields.memory_mb[1].value), Number(fields.always_ready[1].value)];
    const quota = page.host ? ` of a quota of ${megabytes(page.host.memory_quota_mb)}` : "";
    setText(sum, ready > 0 ? `${ready} always ready × ${megabytes(each)} = ${megabytes(ready * each)}${quota}` : "");
  }

  async function apply(event) {
    event.preventDefault();
    const body = Object.fromEntries(changes().map(([name, field]) => [name, asSetting(field.value.trim())]));
    save.disabled = true;
    setText(outcome, "Applying…");
    setAttribute(outcome, "data-level", null);
    try {
      const done = await changeWithToken("PATCH", appPath(page.name, "/scale"), body);
      setText(outcome, done ? `Revision ${done.revision} serves with these settings.` : "");
      setAttribute(outcome, "data-level", "good");
      if (done) shown = null;
    } catch (error) {
      setText(outcome, error.message);
      setAttribute(outcome, "data-level", "bad");
    }
    if (shown) changed();
    page.wake();
  }

  return {
    node: section("settings", "Scale settings", [], form),
    sources: [],
    tick() {
      if (changes().length === 0 && !save.matches(":focus")) fill();
    },
  };
}
