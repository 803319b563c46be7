/**
 * Removes what the sources make again. What took a download (node_modules/,
 * .belfry/bin/, .belfry/chromium/) and what a run stored stay.
 */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { root } from "./process.mjs";

await rm(join(root, "dist"), { recursive: true, force: true });
