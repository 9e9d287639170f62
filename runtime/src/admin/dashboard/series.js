// The last five minutes of an app, second by second, put together from what the host sends.

const SPAN = 300;
const COUNTS = ["invocations", "failed", "throttled", "cold", "cpu_us"];
const GAUGES = ["instances", "in_flight", "waiting", "memory_bytes"];
const LATENCIES = ["p50_us", "p90_us", "p99_us", "max_us"];

/** Points by group and second. Seconds that the host leaves out are filled in. */
export function series() {
  const groups = new Map();
  let period = 1_000;
  let newest = null;
  let end = 0;

  function add(answer) {
    period = answer.period_ms;
    for (const point of answer.points) {
      const group = groups.get(point.group) ?? { points: new Map(), before: null };
      groups.set(point.group, group);
      group.points.set(Math.floor(point.time_ms / period), point);
      newest = Math.max(newest ?? 0, point.time_ms);
    }
    // The second before the last may be on its way still; what came of it is shown at once.
    end = Math.max(Math.floor(answer.now_ms / period) - 2, Math.floor((newest ?? 0) / period));
    for (const group of groups.values()) {
      for (const [second, point] of group.points) {
        if (second > end - SPAN) break;
        group.before = point;
        group.points.delete(second);
      }
    }
  }

  /** One row for each second; gauges stay as they were until they change. */
  function rowsOf({ points, before }, now) {
    // Without any point nothing has changed, and what holds now held all the time.
    let last = before ?? (points.size === 0 ? now : null);
    return Array.from({ length: SPAN }, (_, index) => {
      const second = end - SPAN + 1 + index;
      const point = points.get(second);
      last = point ?? last;
      const row = { time_ms: second * period };
      for (const name of COUNTS) row[name] = point?.[name] ?? 0;
      for (const name of LATENCIES) row[name] = point?.[name] ?? null;
      for (const name of GAUGES) row[name] = last?.[name] ?? null;
      return row;
    });
  }

  /** Several groups as one: counts and gauges are summed up, of latencies the slowest group counts. */
  function together(rows, others) {
    const sum = (one, other) => (one === null && other === null ? null : one + other);
    return rows.map((row, index) => {
      const other = others[index];
      const both = { time_ms: row.time_ms };
      for (const name of [...COUNTS, ...GAUGES]) both[name] = sum(row[name], other[name]);
      for (const name of LATENCIES) both[name] = sum(row[name], other[name]) && Math.max(row[name], other[name]);
      return both;
    });
  }

  return {
    add,
    /** From when on to ask, in the host's milliseconds; the newest second is read again. */
    since: () => newest ?? 0,
    /** Rows of these groups, which are as the app shows them now. */
    rows: (wanted) =>
      wanted
        .map((now) => rowsOf(groups.get(now.group) ?? { points: new Map(), before: null }, now))
        .reduce(together),
    /** Seconds from one row to the next. */
    seconds: () => period / 1_000,
  };
}
