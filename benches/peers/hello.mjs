// What the hello guest answers, for workerd.
export default {
  fetch() {
    return new Response('Hello from wfn!\n', { headers: { 'content-type': 'text/plain' } });
  },
};
