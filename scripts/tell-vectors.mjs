// Vectors of the frames 6 (tell) and 24 (directive), and of hello's words on what is around
// the client; for make-protocol-vectors.mjs, which gives the forms.

const token = "e30.e30.c2ln";
const hello = { v: 1, token };
const read = { kind: "hello", version: 1, token, start: "new" };

export function tellVectors({ sent, refusedFrame }) {
  const around = { network: "cellular", heartbeatMs: 240_000, app: "background" };
  const client = [
    sent("hello with what is around the client", [1, { ...hello, ...around }], {
      ...read,
      ...around,
    }),
    sent(
      "hello by a network of a later version",
      [1, { ...hello, network: "satellite", app: "front" }],
      { ...read, app: "front" },
    ),
    sent("tell", [6, { network: "wifi", heartbeatMs: 90_000, app: "front" }], {
      kind: "tell",
      now: { network: "wifi", heartbeatMs: 90_000, app: "front" },
    }),
    sent(
      "tell that nobody looks any more",
      [6, { app: "background", later: "unknown fields are ignored" }],
      { kind: "tell", now: { app: "background" } },
    ),
    sent("tell that says nothing", [6, {}], { kind: "tell", now: {} }),
  ];
  const bad = (name, frame) => refusedFrame(name, "BAD_FRAME", frame);
  const refused = [
    bad("hello with an app state that is none", [1, { ...hello, app: "visible" }]),
    bad("hello with a heartbeat that is no number", [1, { ...hello, heartbeatMs: "fast" }]),
    bad("hello with a network that is no text", [1, { ...hello, network: 3 }]),
    bad("tell without a map", [6, "background"]),
    bad("tell with an app state that is none", [6, { app: true }]),
    bad("tell with a heartbeat below 0", [6, { heartbeatMs: -1 }]),
  ];
  const edges = [{ url: "wss://b.example.com/connect", idc: "b" }];
  const directive = (name, said, heard = said) =>
    sent(name, [24, said], { kind: "directive", directive: heard });
  const server = [
    directive("directive heartbeat", { do: "heartbeat", heartbeatMs: 240_000 }),
    directive(
      "directive reconnect",
      { do: "reconnect", edges, spreadMs: 30_000 },
      { do: "reconnect", edges, afterMs: 0, spreadMs: 30_000 },
    ),
    directive("directive kick", { do: "kick", reason: "signed out by an operator" }),
    directive("directive config", { do: "config", config: { document: "theme", version: 3 } }),
    sent("directive of a later version, to be ignored", [24, { do: "dance" }], {
      kind: "unknown",
    }),
  ];
  return { client, refused, server };
}
