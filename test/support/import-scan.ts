/**
 * What a TypeScript source imports, read from its tokens: comments, strings and
 * templates are told apart from code, so that the word `import` in one of them
 * counts for nothing. Types-only and dynamic imports and re-exports count.
 */

export interface SourceImports {
  /** The specifiers as written, in order. */
  readonly specifiers: readonly string[];
  /** Imports whose specifier is computed, which nothing can check. */
  readonly computed: number;
  /** The file does nothing but hand on what others export. */
  readonly onlyReexports: boolean;
}

/** A word or sign of code, or a string's content without its quotes. */
interface Token {
  readonly kind: "code" | "string";
  readonly text: string;
}

export function scanImports(source: string): SourceImports {
  const tokens = tokensOf(source);
  const specifiers: string[] = [];
  let computed = 0;
  let reexports = 0;
  let others = 0;
  for (let at = 0; at < tokens.length; ) {
    const statement = readStatement(tokens, at);
    if (statement.specifier !== undefined) specifiers.push(statement.specifier);
    if (statement.form === "computed") computed++;
    if (statement.form === "re-export") reexports++;
    if (statement.form === "other" || statement.form === "computed") others++;
    at = statement.end;
  }
  return { specifiers, computed, onlyReexports: reexports > 0 && others === 0 };
}

interface Statement {
  readonly form: "import" | "re-export" | "computed" | "other" | "end";
  readonly specifier?: string;
  /** Where the next one begins. */
  readonly end: number;
}

function readStatement(tokens: readonly Token[], at: number): Statement {
  const afterDot = isCode(tokens[at - 1], ".");
  if (isCode(tokens[at], ";")) return { form: "end", end: at + 1 };
  if (isCode(tokens[at], "import") && !afterDot) return readImport(tokens, at);
  if (isCode(tokens[at], "export")) return readExport(tokens, at);
  if (isCode(tokens[at], "require") && isCode(tokens[at + 1], "(")) return readCall(tokens, at);
  return { form: "other", end: at + 1 };
}

function readImport(tokens: readonly Token[], at: number): Statement {
  if (isCode(tokens[at + 1], "(")) return readCall(tokens, at);
  if (isCode(tokens[at + 1], ".")) return { form: "other", end: at + 2 };
  const next = tokens[at + 1];
  if (next?.kind === "string") return { form: "import", specifier: next.text, end: at + 2 };
  return readFrom(tokens, at + 1, "import");
}

/** `export {...}`, `export type {...}` and `export *`; anything else declares something. */
function readExport(tokens: readonly Token[], at: number): Statement {
  const list = isCode(tokens[at + 1], "type") ? at + 2 : at + 1;
  if (!isCode(tokens[list], "{") && !isCode(tokens[list], "*")) {
    return { form: "other", end: at + 1 };
  }
  return readFrom(tokens, list, "re-export");
}

/** To the specifier after `from`, or to the end of the list when there is none. */
function readFrom(
  tokens: readonly Token[],
  start: number,
  form: "import" | "re-export",
): Statement {
  let depth = 0;
  for (let at = start; at < tokens.length; at++) {
    if (isCode(tokens[at], "{")) depth++;
    if (isCode(tokens[at], "}")) depth--;
    if (depth > 0) continue;
    const next = tokens[at + 1];
    if (isCode(tokens[at], "from") && next?.kind === "string") {
      return { form, specifier: next.text, end: at + 2 };
    }
    if (isCode(tokens[at], "}") && !isCode(next, "from")) return { form, end: at + 1 };
  }
  return { form, end: tokens.length };
}

/** `import("x")`, in a type as well, or `require("x")`. */
function readCall(tokens: readonly Token[], at: number): Statement {
  const [argument, after] = [tokens[at + 2], tokens[at + 3]];
  const closed = isCode(after, ")") || isCode(after, ",");
  if (argument?.kind === "string" && closed) {
    // Part of an expression: the file does more than to re-export.
    return { form: "other", specifier: argument.text, end: at + 4 };
  }
  return { form: "computed", end: at + 2 };
}

function isCode(token: Token | undefined, text: string): boolean {
  return token?.kind === "code" && token.text === text;
}

/** In order of trial: what begins at a position of the source. */
const shapes = {
  blank: /\s+|\/\/[^\n]*|\/\*[\s\S]*?\*\//y,
  string: /"((?:[^"\\\n]|\\.)*)"|'((?:[^'\\\n]|\\.)*)'/y,
  regularExpression: /\/(?![*/])(?:[^\\/[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+\/[a-z]*/y,
  word: /[\p{ID_Start}$_#@][\p{ID_Continue}$]*|\d[\w.]*/uy,
};

/** After one of these a slash begins a regular expression; after any other it divides. */
const beforeOperand = /^([({[,;:=!&|?+\-*%~^<>]|return|typeof|case|in|of|void|await|yield)$/;

function tokensOf(source: string): Token[] {
  const tokens: Token[] = [];
  readTokens(source, 0, tokens, false);
  return tokens;
}

/** Reads to the end, or with `nested` to the brace that closes a template's `${`. */
function readTokens(source: string, start: number, tokens: Token[], nested: boolean): number {
  let at = start;
  let depth = 0;
  while (at < source.length) {
    const blank = matchAt(shapes.blank, source, at);
    if (blank !== undefined) {
      at += blank[0].length;
      continue;
    }
    const sign = source[at] ?? "";
    if (nested && sign === "}" && depth === 0) return at + 1;
    if (sign === "{") depth++;
    if (sign === "}") depth--;
    at = sign === "`" ? readTemplate(source, at, tokens) : readToken(source, at, tokens);
  }
  return at;
}

function readToken(source: string, at: number, tokens: Token[]): number {
  const string = matchAt(shapes.string, source, at);
  if (string !== undefined) {
    tokens.push({ kind: "string", text: string[1] ?? string[2] ?? "" });
    return at + string[0].length;
  }
  const last = tokens.at(-1);
  if (source[at] === "/" && (last === undefined || beforeOperand.test(codeOf(last)))) {
    const expression = matchAt(shapes.regularExpression, source, at);
    if (expression !== undefined) {
      tokens.push({ kind: "code", text: "/…/" });
      return at + expression[0].length;
    }
  }
  const text = matchAt(shapes.word, source, at)?.[0] ?? source[at] ?? "";
  tokens.push({ kind: "code", text });
  return at + text.length;
}

/** A template without `${}` is a string; one with it is code, and so is what it holds. */
function readTemplate(source: string, start: number, tokens: Token[]): number {
  const tokensBefore = tokens.length;
  let text = "";
  let at = start + 1;
  while (at < source.length && source[at] !== "`") {
    if (source.startsWith("${", at)) {
      tokens.push({ kind: "code", text: "${" });
      at = readTokens(source, at + 2, tokens, true);
      tokens.push({ kind: "code", text: "…" });
      continue;
    }
    const length = source[at] === "\\" ? 2 : 1;
    text += source.slice(at, at + length);
    at += length;
  }
  if (tokens.length === tokensBefore) tokens.push({ kind: "string", text });
  return at + 1;
}

function codeOf(token: Token): string {
  return token.kind === "code" ? token.text : "";
}

function matchAt(shape: RegExp, source: string, at: number): RegExpExecArray | undefined {
  shape.lastIndex = at;
  return shape.exec(source) ?? undefined;
}
