// The functions of guest-examples/rust/report, over the same kinds of store: by fetch to http://wfn.internal.
const VISITS = 'http://wfn.internal/kv/visits';
const REPORTS = 'http://wfn.internal/blobs/reports';
const PAGE_NAME_BYTES_MAX = 100;
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/;
const TEXT = { 'content-type': 'text/plain; charset=utf-8' };

addEventListener('fetch', (event) => event.respondWith(handle(event.request)));

async function handle(request) {
  const [, place, name = '', ...more] = new URL(request.url).pathname.split('/');
  const key = `${request.method} ${place}`;
  if (key === 'POST nightly' && name === '') {
    return nightly(request);
  }
  if (key === 'POST visits' && name !== '' && more.length === 0) {
    return visit(name);
  }
  if (key === 'GET reports' && name !== '' && more.length === 0) {
    return report(name);
  }
  return text('there is nothing at this path\n', 404);
}

function text(body, status = 200) {
  return new Response(body, { status, headers: TEXT });
}

/** Asks a store; what it refuses, other than `expected`, is an error. */
async function ask(url, init = {}, expected = []) {
  const answer = await fetch(url, init);
  if (!answer.ok && !expected.includes(answer.status)) {
    throw new Error(`${url} refuses with ${answer.status}: ${await answer.text()}`);
  }
  return answer;
}

/** Counts a visit. Two at the same time are both counted, whichever instances count them. */
async function visit(encoded) {
  const page = decoded(encoded);
  if (page === null || new TextEncoder().encode(page).length > PAGE_NAME_BYTES_MAX || CONTROL.test(page)) {
    return text(`name a page, in at most ${PAGE_NAME_BYTES_MAX} bytes of one line\n`, 422);
  }
  const sum = await ask(`${VISITS}/${encodeURIComponent(page)}/increment`, { method: 'POST' });
  return text(Number(await sum.text()) + '\n');
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return null;
  }
}

/**
 * Writes the report of the day that the run is for, in UTC. A run comes again if the host is killed in the middle of it,
 * and another may be fired by hand: the day's first report stays.
 */
async function nightly(request) {
  // Only the host can send it.
  if (!request.headers.has('wfn-trigger')) {
    return text('reports are written by the timer alone\n', 403);
  }
  const { due } = await request.json();
  const date = due.split('T')[0];
  const init = { method: 'PUT', headers: { ...TEXT, 'if-none-match': '*' }, body: await counts() };
  const written = await ask(`${REPORTS}/${date}.txt`, init, [412]);
  if (!written.ok) {
    console.log(`the report of ${date} is there already`);
  }
  return new Response(null, { status: 204 });
}

/** All pages in the order of their names, which is that of the store. */
async function counts() {
  const lines = [];
  for (let after = ''; after !== null; ) {
    const page = await (await ask(`${VISITS}?after=${encodeURIComponent(after)}`)).json();
    const count = async (name) => `${name} ${await (await ask(`${VISITS}/${encodeURIComponent(name)}`)).text()}\n`;
    // Asked for at the same time: together they take as long as one.
    lines.push(...(await Promise.all(page.keys.map(count))));
    after = page.next;
  }
  return lines.join('');
}

async function report(date) {
  const found = /^[\d-]+$/.test(date) ? await ask(`${REPORTS}/${date}.txt`, {}, [404]) : null;
  return found?.ok ? new Response(found.body, { headers: TEXT }) : text('there is no report of that date\n', 404);
}
