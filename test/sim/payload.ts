/** What a publisher puts into its pushes: who, and the how-manieth of its own. */
export interface Payload {
  readonly publisher: string;
  /** 0: an echo, pushed again and again, the same to the byte. */
  readonly number: number;
}

export function isEcho({ number }: Payload): boolean {
  return number === 0;
}

export function payloadName({ publisher, number }: Payload): string {
  return `${publisher}#${number}`;
}
