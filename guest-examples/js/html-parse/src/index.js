// Parses the HTML page in a POST body with parse5 and answers what is in it as JSON.
import { defaultTreeAdapter, parse } from 'parse5';

const PAGE_BYTES_MAX = 8 * 1024 * 1024;

addEventListener('fetch', (event) => event.respondWith(handle(event.request)));

async function handle(request) {
  if (request.method !== 'POST') {
    return text(405, 'POST an HTML page here: curl --data-binary @page.html URL\n', { allow: 'POST' });
  }
  const page = await request.arrayBuffer();
  if (page.byteLength > PAGE_BYTES_MAX) {
    return text(413, `the page is larger than ${PAGE_BYTES_MAX} bytes\n`);
  }
  return new Response(JSON.stringify(count(new TextDecoder().decode(page))) + '\n', {
    headers: { 'content-type': 'application/json' },
  });
}

function text(status, body, headers = {}) {
  return new Response(body, { status, headers: { 'content-type': 'text/plain; charset=utf-8', ...headers } });
}

/** The same counts as guest-examples/rust/html-count, whose parser mends broken markup in the same way. */
function count(html) {
  const encoder = new TextEncoder();
  const counts = { elements: 0, links: 0, text_bytes: 0, title: '' };
  let title;
  const waiting = [parse(html)];
  while (waiting.length > 0) {
    const node = waiting.pop();
    if (defaultTreeAdapter.isTextNode(node)) {
      counts.text_bytes += encoder.encode(node.value).length;
    } else if (defaultTreeAdapter.isElementNode(node)) {
      counts.elements += 1;
      if (node.tagName === 'a' && node.attrs.some(({ name }) => name === 'href')) {
        counts.links += 1;
      }
      if (node.tagName === 'title') {
        title ??= node;
      }
    }
    // A template's children are in a fragment of their own.
    waiting.push(...(node.content ?? node).childNodes?.toReversed() ?? []);
  }
  const texts = (title?.childNodes ?? []).map((child) => child.value ?? '');
  counts.title = texts.join('').trim().replaceAll(/\s+/g, ' ');
  return counts;
}
