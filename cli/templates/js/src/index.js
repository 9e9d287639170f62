addEventListener('fetch', (event) => event.respondWith(handle(event.request)));

async function handle(request) {
  if (request.method === 'POST') {
    return echo(request);
  }
  const { searchParams } = new URL(request.url);
  const name = searchParams.get('name') ?? 'world';
  return new Response(`Hello, ${name}, from {{name}}!\n`, {
    headers: { 'content-type': 'text/plain; charset=utf-8' },
  });
}

async function echo(request) {
  let received;
  try {
    received = await request.json();
  } catch (error) {
    return new Response(`the body is not JSON: ${error.message}\n`, { status: 400 });
  }
  // What is printed lands in the app's log.
  console.log('received', typeof received);
  return Response.json({ received });
}
