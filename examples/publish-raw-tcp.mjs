// Pushes to one user over a bare TCP socket that speaks NATS's text protocol
// (docs.nats.io, "Client Protocol") and prints the answer: no library, any language.
//   NATS_PASSWORD=… node examples/publish-raw-tcp.mjs demo alice 'hello'
import { randomUUID } from "node:crypto";
import { connect } from "node:net";

const [app = "demo", uid = "alice", text = "hello"] = process.argv.slice(2);
const { NATS_URL = "nats://127.0.0.1:4222", NATS_USER = `app-${app}`, NATS_PASSWORD } = process.env;
const { hostname, port } = new URL(NATS_URL.includes("://") ? NATS_URL : `nats://${NATS_URL}`);
const inbox = `_INBOX_${app}.${randomUUID()}`;
const push = JSON.stringify({ body: { text }, type: "example" });
const login = {
  user: NATS_USER,
  pass: NATS_PASSWORD,
  verbose: false,
  headers: true,
  no_responders: true,
};

const socket = connect(Number(port || 4222), hostname).setEncoding("utf8");
socket.setTimeout(5_000, () => finish(3, "no answer within 5 s"));
socket.on("error", (error) => finish(3, error.message));
let received = "";
socket.on("data", (chunk) => {
  const isFirst = received === "";
  received += chunk;
  if (isFirst) {
    // The server has sent its INFO line. The uid is a subject token: `a.b` would be `a%2Eb`.
    socket.write(`CONNECT ${JSON.stringify(login)}\r\nSUB ${inbox} 1\r\n`);
    socket.write(`PUB push.${app}.user.${uid} ${inbox} ${Buffer.byteLength(push)}\r\n${push}\r\n`);
  }
  const failure = received.match(/^-ERR .*/m) ?? received.match(/^NATS\/1\.0 503.*/m);
  if (failure) finish(1, failure[0]);
  const answer = received.match(/^MSG \S+ 1 \d+\r\n(.*)\r\n/m);
  if (answer) finish(JSON.parse(answer[1]).ok ? 0 : 1, answer[1]);
});

function finish(code, line) {
  console.log(line);
  process.exitCode = code;
  socket.destroy();
}
