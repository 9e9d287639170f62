// Asking: for the token, and whether a change is meant.

import { change, hasToken, Refused, setToken } from "./api.js";
import { element, labelled } from "./dom.js";

/** Shows a dialog until it is answered; gives true, if it was answered with its main button. */
function ask(title, content, yes, accept) {
  return new Promise((resolve) => {
    let answer = false;
    const submit = (event) => {
      event.preventDefault();
      answer = true;
      accept();
      dialog.close();
    };
    const close = () => {
      dialog.remove();
      resolve(answer);
    };
    const dialog = element("dialog", { close, "aria-labelledby": "dialog-title" },
      element("form", { submit },
        element("h2", { id: "dialog-title" }, title),
        ...content,
        element("div", { class: "buttons" },
          element("button", { type: "button", click: () => dialog.close() }, "Cancel"),
          element("button", { type: "submit", class: "main" }, yes))));
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** Asks whether a change is meant. */
export const confirmed = (title, text, yes) => ask(title, [element("p", {}, text)], yes, () => {});

/** Asks for a whole number; gives null, if none is given. */
export async function askForNumber(title, text, { label, value, min, max }, yes) {
  const input = element("input", {
    type: "number", value, min, max, step: 1, required: true, inputmode: "numeric", autofocus: true,
    focus: () => input.select(),
  });
  const content = [element("p", {}, text), labelled(label, input, `${min} to ${max}`)];
  return (await ask(title, content, yes, () => {})) ? input.valueAsNumber : null;
}

/** Asks for the token and keeps it for this tab. */
export function askForToken(why) {
  const input = element("input", { type: "password", required: true, autocomplete: "off", autofocus: true });
  const hint = "The content of the file 'token' in the host's data directory. It stays in this tab and is forgotten with it.";
  const content = [element("p", {}, why), labelled("Token", input, hint)];
  return ask("Paste the token", content, "Use token", () => setToken(input.value.trim()));
}

/** Sends a change; asks for the token, if there is none or it is wrong. Gives null, if it is not given. */
export async function changeWithToken(method, path, body) {
  for (;;) {
    try {
      return await change(method, path, body);
    } catch (error) {
      if (!(error instanceof Refused) || error.status !== 401) throw error;
      const why = hasToken() ? "The host does not know this token." : "Changes need the host's token.";
      setToken("");
      if (!(await askForToken(why))) return null;
    }
  }
}
