// The admin API on the page's own origin: reading, changing, following, and the token.

const TOKEN = "wfn-token";
/** A host that is silent for longer does not answer. */
const PATIENCE_MS = 10_000;

/** An answer that is no success. */
export class Refused extends Error {
  constructor(status, { code = "unknown", message = `the host answered ${status}` } = {}) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** No answer that can be read. */
export class Silent extends Error {}

/** Takes the token for this tab; the empty text forgets it. */
export const setToken = (token) => (token ? sessionStorage.setItem(TOKEN, token) : sessionStorage.removeItem(TOKEN));

/** Whether there is a token. */
export const hasToken = () => sessionStorage.getItem(TOKEN) !== null;

/** The path of an app in the API. */
export const appPath = (app, rest = "") => `/v1/apps/${encodeURIComponent(app)}${rest}`;

async function send(path, options) {
  const token = sessionStorage.getItem(TOKEN);
  const headers = { "content-type": "application/json" };
  if (token !== null) headers.authorization = `Bearer ${token}`;
  const answer = await fetch(path, { ...options, headers, cache: "no-store", credentials: "omit" });
  if (answer.ok) return answer;
  const body = await answer.json().catch(() => ({}));
  throw new Refused(answer.status, body.error ?? {});
}

/** Reads JSON. */
export async function get(path, signal) {
  try {
    const answer = await send(path, { signal: AbortSignal.any([signal, AbortSignal.timeout(PATIENCE_MS)]) });
    return await answer.json();
  } catch (error) {
    throw error instanceof Refused ? error : new Silent(error.message);
  }
}

/** Sends a change and reads what came of it. A change has no deadline: the host finishes what it has begun. */
export async function change(method, path, body) {
  const answer = await send(path, { method, body: JSON.stringify(body) });
  return answer.json();
}

/** Reads newline-delimited JSON as it comes, in batches; empty lines only show that the host is there. */
export async function* follow(path, signal) {
  const answer = await send(path, { signal });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    yield lines.filter((line) => line !== "").map((line) => JSON.parse(line));
  }
}
