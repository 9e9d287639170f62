// Reads what the page shows once a second, one request at a time, while somebody can see it.

import { get, Refused } from "./api.js";

const PERIOD_MS = 1_000;
/** How long something that the host does not show us is left alone. */
const REFUSED_MS = 30_000;

/**
 * A source is `{ path(), every, use(answer), optional }`: `path` gives what to read, or null for nothing now;
 * `every` is in milliseconds; what an optional one is refused does not matter. After each round `report` gets
 * the error that ended it, or null.
 */
export function poller(report) {
  let sources = [];
  let round = new AbortController();
  let timer;

  async function read(source, signal) {
    const path = Date.now() >= (source.due) ? source.path() : null;
    if (path === null) return;
    source.due = Date.now() + source.every;
    try {
      const answer = await get(path, signal);
      // Somebody may have chosen something else meanwhile.
      if (signal.aborted || source.path() !== path) source.due = 0;
      else source.use(answer);
    } catch (error) {
      if (!(source.optional && error instanceof Refused)) {
        source.due = 0;
        throw error;
      }
      source.due = Date.now() + Math.max(REFUSED_MS, source.every);
    }
  }

  async function run() {
    clearTimeout(timer);
    round.abort();
    if (document.hidden) return;
    round = new AbortController();
    const { signal } = round;
    const begun = Date.now();
    let problem = null;
    try {
      for (const source of sources) await read(source, signal);
    } catch (error) {
      problem = error;
    }
    if (signal.aborted) return;
    const took = Date.now() - begun;
    // A host or a page that is slow gets as much rest as the round took.
    timer = setTimeout(run, Math.max(PERIOD_MS - took, Math.min(took, 10 * PERIOD_MS)));
    report(problem);
  }

  document.addEventListener("visibilitychange", run);
  return {
    /** Reads these sources from now on, all of them at once. */
    read(others) {
      sources = others;
      for (const source of sources) source.due = 0;
      run();
    },
    /** Reads everything that is due now. */
    wake: run,
  };
}
