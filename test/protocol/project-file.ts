/** Files of the project as tests find them, which run from dist/test. */
import { fileURLToPath } from "node:url";

export function projectFile(path: string): string {
  return fileURLToPath(new URL(`../../../${path}`, import.meta.url));
}
