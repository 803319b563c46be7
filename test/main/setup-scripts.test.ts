/** The pure parts of scripts/: which server is new enough, which mirror, which licence. */
import { deepEqual, equal } from "node:assert/strict";
import { describe, test } from "node:test";

interface SourceEntry {
  uri: string;
  suites: string[];
  components: string[];
}

/** The scripts are plain JavaScript outside dist/, so their types are stated here. */
const load = async (name: string) =>
  (await import(new URL(`../../../scripts/${name}.mjs`, import.meta.url).href)) as unknown;

const nats = (await load("ensure-nats")) as {
  parseVersion(said: string): string | undefined;
  isNewEnough(version: string): boolean;
};
const apt = (await load("apt-private")) as {
  parseOneLine(text: string): SourceEntry[];
  parseDeb822(text: string): SourceEntry[];
  ofSystem(
    entries: SourceEntry[],
    codename: string,
  ): { uri: string; suite: string; component: string }[];
};
const licences = (await load("licences")) as {
  isAllowed(expression: string, allowed: ReadonlySet<string>): boolean;
};

describe("the nats-server that is taken", () => {
  for (const [said, newEnough] of [
    ["nats-server: v2.10.27", true],
    ["nats-server: v2.10.0", true],
    ["nats-server: v2.11.0-RC.1", true],
    ["nats-server: v3.0.0", true],
    ["nats-server: v2.9.25", false],
    ["nats-server: v1.99.0", false],
  ] as const) {
    test(`${said} is ${newEnough ? "new enough" : "too old"}`, () => {
      equal(nats.isNewEnough(nats.parseVersion(said) ?? ""), newEnough);
    });
  }

  test("tells its version, or is passed over", () => {
    equal(nats.parseVersion("command not found"), undefined);
  });
});

describe("the mirror that is taken", () => {
  const main = { component: "main" };

  test("is the one of the system's own release in the old form of sources", () => {
    const entries = apt.parseOneLine(`
# deb http://commented.example/debian bookworm main
deb [signed-by=/usr/share/keyrings/x.gpg arch=amd64] https://third.example/apt bookworm-x main
deb cdrom:[Debian GNU/Linux 12]/ bookworm main
deb [ trusted=yes ] http://mirror.example/debian/ bookworm main contrib # ours
deb http://mirror.example/security bookworm-security main
deb-src http://source.example/debian bookworm main
`);
    deepEqual(apt.ofSystem(entries, "bookworm"), [
      { uri: "http://mirror.example/debian/", suite: "bookworm", ...main },
      { uri: "http://mirror.example/security", suite: "bookworm-security", ...main },
    ]);
  });

  test("is the one of the system's own release in the new form of sources", () => {
    const entries = apt.parseDeb822(`Types: deb
# URIs: http://commented.example
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Enabled: no
Types: deb
URIs: http://switched-off.example/debian
Suites: bookworm
Components: main

Types: deb deb-src
URIs: http://mirror.example/security
Suites:
 bookworm-security
Components: main
 contrib
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 Suites: none
 -----END PGP PUBLIC KEY BLOCK-----

Types: deb
URIs: https://third.example/node
Suites: nodistro
Components: main
`);
    deepEqual(apt.ofSystem(entries, "bookworm"), [
      { uri: "http://mirror.example/debian", suite: "bookworm", ...main },
      { uri: "http://mirror.example/debian", suite: "bookworm-updates", ...main },
      { uri: "http://mirror.example/security", suite: "bookworm-security", ...main },
    ]);
  });

  test("is none where only others' sources are set", () => {
    const entries = apt.parseOneLine("deb https://third.example/apt stable main\n");
    deepEqual(apt.ofSystem(entries, "bookworm"), []);
  });
});

describe("a licence", () => {
  const allowed = new Set(["MIT", "Zlib"]);
  for (const [expression, passes] of [
    ["MIT", true],
    ["(MIT AND Zlib)", true],
    ["GPL-2.0-only OR MIT", true],
    ["MIT OR GPL-2.0-only", true],
    ["MIT AND (GPL-2.0-only OR Zlib)", true],
    ["MIT WITH some-exception", true],
    ["MIT AND GPL-2.0-only", false],
    ["GPL-2.0-only", false],
    ["MIT OR GPL-2.0-only AND Zlib", true],
    ["(MIT OR GPL-2.0-only) AND GPL-3.0-only", false],
    ["(MIT", false],
    ["MIT)", false],
    ["", false],
    ["none stated", false],
  ] as const) {
    test(`${JSON.stringify(expression)} is ${passes ? "allowed" : "refused"}`, () => {
      equal(licences.isAllowed(expression, allowed), passes);
    });
  }
});
