// How an app does, in one word, from the numbers of its groups.

import { count, number, percent, perSecond } from "./format.js";

/** From this share of failures on an app counts as failing. */
const FAILING = 0.05;

const sum = (groups, of) => groups.reduce((all, group) => all + (of(group) ?? 0), 0);
const most = (groups, of) => groups.reduce((all, group) => Math.max(all ?? 0, of(group) ?? 0) || null, null);

/** The groups of an app, and the instances of a second revision, whose requests are counted in the group. */
export const withSplit = ({ groups, split }) => (split ? [...groups, split] : groups);

/** The numbers of an app over all its groups; rates are those of the last seconds. */
export function totals(app) {
  const groups = withSplit(app);
  const seconds = groups[0]?.recent?.seconds ?? 1;
  const rate = (name) => sum(groups, (group) => group.recent?.[name]) / seconds;
  return {
    seconds,
    requests: rate("invocations"),
    failed: rate("failed"),
    throttled: rate("throttled"),
    cores: rate("cpu_us") / 1e6,
    p50_us: most(groups, (group) => group.recent?.p50_us),
    p99_us: most(groups, (group) => group.recent?.p99_us),
    instances: sum(groups, (group) => group.instances),
    instances_max: sum(groups, (group) => group.always_ready + group.max_instances),
    in_flight: sum(groups, (group) => group.in_flight),
    waiting: sum(groups, (group) => group.waiting),
    memory_bytes: sum(groups, (group) => group.memory_bytes),
  };
}

/** How bad the failures of these numbers are. */
export function failureLevel({ requests, failed, throttled }) {
  if (throttled > 0 || (failed > 0 && failed >= FAILING * requests)) return "bad";
  return failed > 0 ? "warn" : null;
}

/** The state of an app: its word, level and reason. The lower the rank, the more it wants somebody's eyes. */
export function state(now) {
  const { requests, failed, throttled, waiting, instances, in_flight } = now;
  if (throttled > 0) {
    const why = `${count(throttled * now.seconds)} refused in the last ${now.seconds} s`;
    return { rank: 0, word: "throttled", level: "bad", why };
  }
  if (failed > 0) {
    const level = failureLevel(now);
    const why = `${percent(failed, requests)} failed in the last ${now.seconds} s`;
    return level === "bad" ? { rank: 1, word: "failing", level, why } : { rank: 3, word: "some fail", level, why };
  }
  if (waiting > 0) return { rank: 2, word: "waiting", level: "warn", why: `${count(waiting)} wait for a slot` };
  if (requests > 0 || in_flight > 0) return { rank: 4, word: "running", level: "good", why: "it answers" };
  if (instances > 0) return { rank: 5, word: "ready", level: null, why: "instances exist, nothing to do" };
  return { rank: 6, word: "at zero", level: null, why: "no instance until the next request" };
}

/** Shows in tiles what is the same for an app and for all of them. */
export function showLoad(tiles, now) {
  const { requests, failed, throttled, waiting, in_flight } = now;
  tiles.requests.set(perSecond(requests), { small: `${number(now.cores)} cores busy` });
  tiles.failed.set(percent(failed, requests), { small: `${perSecond(throttled)} throttled`, level: failureLevel(now) });
  tiles.in_flight.set(count(in_flight));
  tiles.waiting.set(count(waiting), waiting > 0 ? { small: "for a slot", level: "warn" } : {});
}
