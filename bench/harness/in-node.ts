/**
 * Imported into a node of the platform before its program (NODE_OPTIONS=--import):
 * lets the bench collect garbage there, read its heap, and profile it. Changes
 * nothing else about the node.
 */
import { writeFileSync } from "node:fs";
import { Session } from "node:inspector/promises";
import { collect } from "./collect.js";
import { answerRequests } from "./worker-process.js";

let session: Session | undefined;

async function startProfile(): Promise<void> {
  session = new Session();
  session.connect();
  await session.post("Profiler.enable");
  await session.post("Profiler.setSamplingInterval", { interval: 500 });
  await session.post("Profiler.start");
}

async function stopProfile(file: string): Promise<void> {
  const stopped = await session?.post("Profiler.stop");
  writeFileSync(file, JSON.stringify(stopped?.profile));
  session?.disconnect();
}

answerRequests({ collect, startProfile, stopProfile });
