// Node.js as it comes, one process: answers what the hello guest answers.
import { createServer } from 'node:http';

const server = createServer((request, response) => {
  request.resume();
  response.setHeader('content-type', 'text/plain');
  response.end('Hello from wfn!\n');
});
server.listen(0, '127.0.0.1', () => console.error(`node ready: http://127.0.0.1:${server.address().port}`));
