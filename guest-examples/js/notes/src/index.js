// The JSON API of guest-examples/rust/notes, over the same kind of store: by fetch to http://wfn.internal.
const STORE = 'http://wfn.internal/kv/notes';
const NOTE_BYTES_MAX = 64 * 1024;

addEventListener('fetch', (event) => event.respondWith(handle(event.request)));

async function handle(request) {
  const { pathname, searchParams } = new URL(request.url);
  const path = pathname.replace(/^.*\/notes(?=\/|$)/, '');
  const id = Number(path.slice(1));
  const handlers = path === '' ? { GET: list, POST: make } : { GET: read, PUT: change, DELETE: remove };
  if (path !== '' && !(Number.isSafeInteger(id) && id > 0)) {
    return problem(404, 'there is nothing at this path');
  }
  const handler = handlers[request.method];
  if (!handler) {
    return problem(405, 'another method', { allow: Object.keys(handlers).join(', ') });
  }
  try {
    return await handler(request, path === '' ? searchParams : id);
  } catch (error) {
    if (error instanceof Refused) {
      return problem(error.status, error.message);
    }
    throw error;
  }
}

/** A failure that the caller is told. */
class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

function problem(status, message, headers = {}) {
  return new Response(message + '\n', { status, headers: { 'content-type': 'text/plain; charset=utf-8', ...headers } });
}

function json(value, status = 200, headers = {}) {
  return new Response(JSON.stringify(value) + '\n', { status, headers: { 'content-type': 'application/json', ...headers } });
}

/** Keys are in the order of their bytes, which with leading zeros is that of the numbers. */
const key = (id) => `note/${String(id).padStart(20, '0')}`;
const url = (id) => `${STORE}/${encodeURIComponent(key(id))}`;

/** Asks the store; what it refuses, other than `expected`, is an error. */
async function ask(url, init = {}, expected = []) {
  const answer = await fetch(url, init);
  if (!answer.ok && !expected.includes(answer.status)) {
    throw new Error(`the store refuses with ${answer.status}: ${await answer.text()}`);
  }
  return answer;
}

async function noteOf(request) {
  const body = await request.text();
  if (new TextEncoder().encode(body).length > NOTE_BYTES_MAX) {
    throw new Refused(413, `the note is larger than ${NOTE_BYTES_MAX} bytes`);
  }
  let note;
  try {
    note = JSON.parse(body);
  } catch (error) {
    throw new Refused(400, `the body is not the JSON expected: ${error.message}`);
  }
  if (typeof note?.text !== 'string') {
    throw new Refused(400, 'the body is not the JSON expected: text is missing');
  }
  return { text: note.text };
}

async function make(request) {
  const note = await noteOf(request);
  const id = Number(await (await ask(`${STORE}/last/increment`, { method: 'POST' })).text());
  await ask(url(id), { method: 'PUT', body: JSON.stringify(note) });
  return json({ id, ...note }, 201, { location: `/notes/${id}` });
}

async function list(_, query) {
  const after = query.has('after') ? `&after=${encodeURIComponent(key(query.get('after')))}` : '';
  const page = await (await ask(`${STORE}?prefix=note%2F${after}`)).json();
  const ids = page.keys.map((key) => Number(key.slice('note/'.length)));
  // Asked for at the same time: together they take as long as one.
  const notes = await Promise.all(
    ids.map(async (id) => {
      const answer = await ask(url(id), {}, [404]);
      return answer.ok ? [{ id, ...(await answer.json()) }] : [];
    }),
  );
  return json({ notes: notes.flat(), next: page.next === null ? null : ids.at(-1) });
}

async function find(id) {
  const answer = await ask(url(id), {}, [404]);
  if (!answer.ok) {
    throw new Refused(404, 'there is no such note');
  }
  return { note: await answer.json(), state: answer.headers.get('etag') };
}

async function read(_, id) {
  const { note, state } = await find(id);
  return json({ id, ...note }, 200, { etag: state });
}

async function change(request, id) {
  const { state } = await find(id);
  const late = new Refused(412, 'the note has changed: read it again');
  if ((request.headers.get('if-match') ?? state) !== state) {
    throw late;
  }
  const body = JSON.stringify(await noteOf(request));
  const answer = await ask(url(id), { method: 'PUT', headers: { 'if-match': state }, body }, [412]);
  if (!answer.ok) {
    throw late;
  }
  return new Response(null, { status: 204 });
}

async function remove(_, id) {
  await ask(url(id), { method: 'DELETE' });
  return new Response(null, { status: 204 });
}
