/** What a topology file may say; each mistake has its own sentence. */
import { deepEqual, equal, match, ok, throws } from "node:assert/strict";
import { readdirSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import {
  BadTopology,
  readTopology,
  readTopologyFile,
  topologyName,
} from "../../src/main/topology-file.js";

const folder = fileURLToPath(new URL("../../../topology/", import.meta.url));

test("reads every topology that comes with the project", () => {
  const files = readdirSync(folder).filter((name) => name.endsWith(".yaml"));
  deepEqual(files.sort(), ["lmdb.yaml", "redis-mysql.yaml"]);
  for (const file of files) {
    const { nodes, store, nats } = readTopologyFile(folder + file);
    equal(store.kind, topologyName(file));
    equal(nats, "private");
    ok(nodes.length > 1);
  }
});

const lmdb = "nodes: [{ name: a }]\nstore: { kind: lmdb }\n";

for (const [what, text, says] of [
  ["an unknown field", `${lmdb}demmo: true`, /^f\.yaml: .*"demmo"/],
  ["an unknown field of a node", "nodes: [{ name: a, prot: 1 }]\nstore: { kind: lmdb }", /"prot"/],
  ["no store", "nodes: [{ name: a }]", /^f\.yaml: store is missing$/],
  ["another store", "nodes: [{ name: a }]\nstore: { kind: mongo }", /store\.kind: /],
  ["no nodes", "nodes: []\nstore: { kind: lmdb }", /nodes: /],
  [
    "two nodes of one name",
    "nodes: [{ name: a }, { name: a }]\nstore: { kind: lmdb }",
    /the name a$/,
  ],
  [
    "two nodes of one port",
    "nodes: [{ name: a, port: 1 }, { name: b, port: 1 }]\nstore: { kind: lmdb }",
    /want port 1/,
  ],
  [
    "the embedded store on two machines",
    "nodes: [{ name: a, machine: x }, { name: b, machine: y }]\nstore: { kind: lmdb }",
    /the store lmdb is of one machine/,
  ],
  [
    "private servers for two machines",
    "nodes: [{ name: a, machine: x }, { name: b }]\nstore: { kind: redis-mysql }",
    /need nats, mysql and redis by url/,
  ],
  [
    "a server without url",
    "nodes: [{ name: a }]\nstore: { kind: redis-mysql, mysql: {} }",
    /store\.mysql: is private, or a map with url/,
  ],
  ["a field twice", `${lmdb}idc: a\nidc: b`, /is no YAML: Map keys must be unique/],
  ["no YAML", "a: [", /^f\.yaml is no YAML: /],
  ["nothing", "", /f\.yaml: /],
] as const) {
  test(`refuses ${what}`, () => {
    throws(
      () => readTopology("f.yaml", text),
      (error) => {
        ok(error instanceof BadTopology);
        match(error.message, says);
        return true;
      },
    );
  });
}

test("takes nodes on several machines where all servers are given", () => {
  const { nodes } = readTopology(
    "f.yaml",
    `nodes: [{ name: a, machine: x }, { name: b, machine: y }]
nats: { url: "nats://n:4222" }
store:
  kind: redis-mysql
  mysql: { url: "mysql://belfry@m:3306/belfry" }
  redis: { url: "redis://r:6379" }
`,
  );
  deepEqual(
    nodes.map(({ machine }) => machine),
    ["x", "y"],
  );
});
