// The frame of the dashboard: which page is shown, whether the host answers, and the token.

import { hasToken, Refused, setToken, Silent } from "./api.js";
import { appPage } from "./app-page.js";
import { askForToken } from "./dialogs.js";
import { setAttribute, setText } from "./dom.js";
import { timeOfDay } from "./format.js";
import { overview } from "./overview.js";
import { poller } from "./poller.js";

const parts = ["main", "notice", "status", "token", "version"];
const [main, notice, status, token, version] = parts.map((id) => document.getElementById(id));
const polling = poller(report);
const shared = {
  wake: polling.wake,
  showHost: (host) => setText(version, `${host.version} on ${host.functions}`),
};
let view = null;
let answered = null;
let isAsked = false;

/** Shows the page that the address names. */
function route() {
  const [, place, app, part] = location.hash.slice(1).split("/").map(decoded);
  const path = place === "apps" && app ? `apps/${app}` : "";
  if (view?.path === path) {
    view.show?.(part);
    return;
  }
  const isFirst = view === null;
  view?.stop?.();
  view = { path, part, ...(path ? appPage(app, shared) : overview(shared)) };
  document.title = view.title;
  main.replaceChildren(view.node);
  scrollTo(0, 0);
  if (!isFirst) main.focus({ preventScroll: true });
  polling.read(view.sources);
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Shows how the last round of questions ended. */
function report(problem) {
  showToken();
  if (problem === null) {
    answered = Date.now();
    say("Live", "good", "");
    view.tick?.();
    if (view.part) view.show(view.part);
    view.part = null;
  } else if (problem instanceof Silent) {
    const since = answered === null ? "" : ` What you see is from ${timeOfDay(answered)}.`;
    say("No answer", "bad", `The host does not answer.${since} Trying again…`);
  } else if (problem.status === 401) {
    say("Locked", "warn", "The host shows this to holders of its token only.");
    unlock();
  } else if (problem instanceof Refused) {
    say("Refused", "bad", `${problem.message} (${problem.code})`);
  } else {
    say("Error", "bad", `The dashboard does not understand the host: ${problem.message}`);
  }
}

function say(word, level, text) {
  setText(status, word);
  setAttribute(status, "data-level", level);
  setText(notice, text);
  notice.hidden = text === "";
  setAttribute(main, "data-stale", text === "" ? null : "");
}

/** Asks for the token once; whoever does not give it finds the button in the head. */
async function unlock() {
  if (isAsked) return;
  isAsked = true;
  const why = hasToken() ? "The host does not know this token." : "The host shows its apps to holders of its token only.";
  setToken("");
  if (await askForToken(why)) isAsked = false;
  showToken();
  polling.read(view.sources);
}

function showToken() {
  setText(token, hasToken() ? "Forget token" : "Use token");
  setAttribute(token, "title", hasToken() ? "Changes are allowed in this tab" : "It is needed to change anything");
}

token.addEventListener("click", async () => {
  isAsked = false;
  if (hasToken()) setToken("");
  else await askForToken("It is needed to change anything.");
  showToken();
  polling.read(view.sources);
});
document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
addEventListener("hashchange", route);
showToken();
route();
