/** Whether anything listens at a NATS URL: a client that reconnects for ever would only wait. */
import { connect } from "node:net";

const natsPort = 4222;

/** `url` may name several servers, with commas between; one that listens is enough. */
export async function isAnybodyListening(url: string, deadlineMs: number): Promise<boolean> {
  const places = url.split(",").map(placeOf);
  const answers = await Promise.all(
    // A form that is not understood here is left to the client.
    places.map((place) => place === undefined || isListening(place.host, place.port, deadlineMs)),
  );
  return answers.includes(true);
}

function placeOf(server: string): { host: string; port: number } | undefined {
  const text = server.trim();
  try {
    const { hostname, port } = new URL(text.includes("://") ? text : `nats://${text}`);
    if (hostname === "") return undefined;
    // Without the brackets of an IPv6 address.
    return { host: hostname.replace(/^\[|\]$/g, ""), port: port === "" ? natsPort : Number(port) };
  } catch {
    return undefined;
  }
}

function isListening(host: string, port: number, deadlineMs: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const end = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(deadlineMs, () => end(false));
    socket.once("connect", () => end(true));
    socket.once("error", () => end(false));
  });
}
