/** An ask that is passed on: the one who asked gets the answer, or the refusal, of another. */
import type { Asker, AskResult } from "../src/runtime/envelope.js";

export async function answerWith(from: Asker, asked: Promise<AskResult<unknown>>): Promise<void> {
  const answer = await asked;
  if (answer.ok) from.answer(answer.value);
  else from.refuse(answer.code, answer.message);
}
