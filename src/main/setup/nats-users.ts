/**
 * Who may do what on the bus: the users of nats.conf.
 *
 * Everything is an allow list, and what is not listed is denied. NATS checks the
 * subject that a publisher names and, in its own account, also the one that it is mapped
 * to, so an operator's list has both forms of a push, and of a request to an inbox; an app's,
 * which are mapped beyond its account (nats-accounts.ts), has one. The default inbox prefix
 * `_INBOX.` is granted to nobody: whoever may subscribe it reads everybody's answers.
 */
import { assert } from "../../base/assert.js";
import { isCanonicalToken } from "../../protocol/tokens.js";

/** Apps and operators by their names as subjects carry them (`encodeToken`). */
export interface NatsUsersSpec {
  readonly nodePassword: string;
  readonly operators: readonly { readonly name: string; readonly password: string }[];
  readonly apps: readonly { readonly app: string; readonly password: string }[];
}

/** One NATS user; `inboxPrefix` is what its client must be set to. */
export interface NatsUser {
  readonly user: string;
  /** Whose account it is in; the platform's without it. */
  readonly app?: string;
  readonly password: string;
  readonly inboxPrefix: string;
  readonly publish: readonly string[];
  readonly subscribe: readonly string[];
  /** Answers to what was received; only apps need it, for uplinks and stored events. */
  readonly mayAnswer: boolean;
}

/** The buckets that operators read. */
const buckets = ["placement", "apps"];

/** An app by one of these names would share its inbox with a node or an operator. */
export function isReservedAppName(app: string): boolean {
  return app === "node" || app.startsWith("op_");
}

export function appUser(app: string, password: string): NatsUser {
  assert(isToken(app) && !isReservedAppName(app), `not the name of an app: ${app}`);
  const inboxPrefix = `_INBOX_${app}`;
  return {
    user: `app-${app}`,
    app,
    password,
    inboxPrefix,
    publish: [`push.${app}.>`, `inbox.${app}.>`, `lane.*.${app}.>`],
    subscribe: [`event.${app}.>`, `uplink.${app}.>`, `${inboxPrefix}.>`],
    mayAnswer: true,
  };
}

/**
 * Reads the buckets, writes the app registry, pushes and looks into inboxes on any app's
 * behalf and asks nodes their operators' questions; actors' own subjects are not among them.
 */
export function operatorUser(name: string, password: string): NatsUser {
  assert(isToken(name), `not the name of an operator: ${name}`);
  const inboxPrefix = `_INBOX_op_${name}`;
  return {
    user: `operator-${name}`,
    password,
    inboxPrefix,
    publish: [
      "push.>",
      "shard.*.push.>",
      "inbox.>",
      "shard.*.inbox.>",
      "node.*.*.operator",
      "$KV.apps.>",
      "$JS.API.INFO",
      ...buckets.flatMap(readingBucket),
    ],
    subscribe: [`${inboxPrefix}.>`],
    mayAnswer: false,
  };
}

/** What a KV client asks of JetStream to read and to watch one bucket. */
function readingBucket(bucket: string): string[] {
  const stream = `KV_${bucket}`;
  return [
    `$JS.API.STREAM.INFO.${stream}`,
    `$JS.API.DIRECT.GET.${stream}`,
    `$JS.API.DIRECT.GET.${stream}.>`,
    `$JS.API.STREAM.MSG.GET.${stream}`,
    `$JS.API.CONSUMER.CREATE.${stream}`,
    `$JS.API.CONSUMER.CREATE.${stream}.>`,
    `$JS.API.CONSUMER.INFO.${stream}.>`,
    `$JS.API.CONSUMER.DELETE.${stream}.>`,
    `$JS.API.CONSUMER.MSG.NEXT.${stream}.>`,
    `$JS.FC.${stream}.>`,
  ];
}

/**
 * The nodes' user. Its answers go to the inboxes listed here and nowhere else, so
 * `operators` are all that may ask a node something. Who asks from another account is
 * answered on `_R_.`, by which the server knows whose question it was.
 */
export function nodeUser(password: string, operators: readonly NatsUser[]): NatsUser {
  const inboxPrefix = "_INBOX_node";
  return {
    user: "node",
    password,
    inboxPrefix,
    publish: [
      "shard.>",
      "node.>",
      "event.>",
      "uplink.>",
      "push.>",
      "lane.>",
      "dead.>",
      "journal.*",
      "$KV.>",
      "$JS.API.>",
      "$JS.ACK.>",
      "$JS.FC.>",
      ...[inboxPrefix, ...operators.map((other) => other.inboxPrefix)].map((each) => `${each}.>`),
      "_R_.>",
    ],
    // No events and no uplinks: those are for the services.
    subscribe: ["shard.>", "node.>", "push.>", "lane.>", "$KV.>", `${inboxPrefix}.>`],
    mayAnswer: false,
  };
}

/** All users of a specification; names of apps and operators are unique. */
export function usersOf(spec: NatsUsersSpec): NatsUser[] {
  const operators = spec.operators.map(({ name, password }) => operatorUser(name, password));
  const apps = spec.apps.map(({ app, password }) => appUser(app, password));
  const users = [nodeUser(spec.nodePassword, operators), ...operators, ...apps];
  assert(new Set(users.map(({ user }) => user)).size === users.length, "two users of one name");
  return users;
}

/** The lone `%` stands for the empty name. */
function isToken(text: string): boolean {
  return isCanonicalToken(text) && text !== "%";
}
