/**
 * SQL that cannot be injected into: a statement is a template of this file's tag, and
 * all that can stand in it is a whole number, bytes (written in hex), null, or another
 * such statement. Text goes in as its UTF-8 bytes; a plain string does not compile.
 */
import { assert } from "../base/assert.js";

declare const sqlBrand: unique symbol;
export type Sql = string & { readonly [sqlBrand]: true };

/** What a value is wrapped in, so that no string can be taken for SQL at run time either. */
type Value = number | Uint8Array | null | Fragment;

class Fragment {
  constructor(readonly sql: Sql) {}
}

export function sql(parts: TemplateStringsArray, ...values: readonly Value[]): Sql {
  let text = parts[0] as string;
  for (let index = 0; index < values.length; index++) {
    text += render(values[index] as Value);
    text += parts[index + 1];
  }
  return text as Sql;
}

/** `statements` in one, separated by commas: rows of an INSERT, members of an IN. */
export function list(statements: readonly Sql[]): Fragment {
  return new Fragment(statements.join(",") as Sql);
}

export function numbers(values: readonly number[]): Fragment {
  return new Fragment(values.map(render).join(",") as Sql);
}

/** One packet of several statements, each ended by the next one's start. */
export function packet(statements: readonly Sql[]): Sql {
  return statements.join(";\n") as Sql;
}

export function utf8(text: string): Buffer {
  return Buffer.from(text, "utf8");
}

function render(value: Value): string {
  if (typeof value === "number") {
    assert(Number.isSafeInteger(value) && value >= 0, `not a whole number: ${value}`);
    return String(value);
  }
  if (value === null) return "NULL";
  if (value instanceof Fragment) return value.sql;
  assert(value instanceof Uint8Array, "only numbers, bytes and SQL may stand in a statement");
  const { buffer, byteOffset, byteLength } = value;
  return `X'${Buffer.from(buffer, byteOffset, byteLength).toString("hex")}'`;
}
