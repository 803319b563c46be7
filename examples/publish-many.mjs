// Pushes one message to each of many users, and prints who did not get it and why.
//   NATS_PASSWORD=… node examples/publish-many.mjs demo 'hello' alice bob carol
//   LANE=low NATS_PASSWORD=… node examples/publish-many.mjs demo 'hello' alice bob carol
import { connect } from "@nats-io/transport-node";
import { createService } from "belfry/service";

const [app = "demo", text = "hello", ...uids] = process.argv.slice(2);
const { NATS_URL = "nats://127.0.0.1:4222", NATS_USER = `app-${app}`, NATS_PASSWORD } = process.env;
const { LANE } = process.env;

const connection = await connect({
  servers: NATS_URL,
  user: NATS_USER,
  pass: NATS_PASSWORD,
  inboxPrefix: `_INBOX_${app}`,
});
const service = createService({ connection, app });
const push = { body: { text }, type: "example" };
const answers =
  LANE === undefined
    ? // At most 64 users at a time, and one push of each.
      await service.pushMany(uids.map((uid) => ({ uid, push })))
    : // The lane's stream has it at once; it is delivered at the platform's pace.
      await Promise.all(uids.map((uid) => service.lane(LANE).push(uid, push)));
for (const [index, answer] of answers.entries()) {
  if (!answer.ok) console.log(uids[index], answer.code, answer.message);
}
const done = answers.filter((answer) => answer.ok).length;
console.log(`${done} of ${answers.length} accepted`);
await connection.close();
process.exitCode = done === answers.length ? 0 : 1;
