/** Requests to the server, repeated while it is busy or gone, with the key that it asks for. */

import { has, say } from "./words.js";

const KEY = "key"; // of sessionStorage
const RETRY = 5; // seconds until the next attempt if the server does not say
const MOST = 60; // seconds until the next attempt
const AWAY = [502, 503, 504]; // of the server, or of a proxy before it

/** An answer that repeating the request would not change. */
export class Refused extends Error {}

/** Resolves after so many milliseconds; rejects when the signal aborts. */
export function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", stop);
      resolve();
    }, milliseconds);
    signal.addEventListener("abort", stop, { once: true });
  });
}

/**
 * The server's answer to a request, with a body to POST or without one. `waiting(message)` is called before each pause
 * and with "" after it. Throws Refused, or the signal's reason when it aborts.
 */
export async function ask(path, body, signal, waiting) {
  for (;;) {
    const key = sessionStorage.getItem(KEY);
    const { status, content, seconds } = await attempt(path, body, key, signal);
    if (status === 200) return content;
    if (status === 401) {
      if (sessionStorage.getItem(KEY) === key) await askKey(key !== null);
    } else if (!status || AWAY.includes(status)) {
      waiting(say(status === 503 ? "busy" : "gone", seconds));
      await pause(1000 * seconds, signal);
      waiting("");
    } else {
      throw new Refused(say(has(status) ? status : "refused", content.detail ?? status));
    }
  }
}

async function attempt(path, body, key, signal) {
  const headers = { ...(body && { "Content-Type": "application/json" }), ...(key && { "X-API-Key": key }) };
  try {
    const posted = body && { method: "POST", body: JSON.stringify(body) };
    const response = await fetch(path, { ...posted, headers, signal, cache: "no-store" });
    const seconds = Math.min(Number(response.headers.get("Retry-After")) || RETRY, MOST);
    const content = response.ok ? await response.json() : await response.json().catch(() => ({}));
    return { status: response.status, content, seconds };
  } catch (error) {
    signal.throwIfAborted();
    console.warn(error);
    return { status: 0, seconds: RETRY };
  }
}

let asking = null; // several requests wait for one key

function askKey(isWrong) {
  asking ??= new Promise((resolve, reject) => {
    const dialog = document.getElementById("ask");
    const [form, input] = [dialog.querySelector("form"), document.getElementById("key")];
    document.getElementById("wrong").textContent = say(isWrong ? "key_wrong" : "key_missing");
    form.onsubmit = (event) => {
      event.preventDefault();
      sessionStorage.setItem(KEY, input.value);
      dialog.close();
      resolve();
    };
    form.querySelector("button[type=button]").onclick = () => dialog.close();
    dialog.onclose = () => {
      form.reset();
      reject(new Refused(say(401))); // without effect after a key
    };
    dialog.showModal();
  }).finally(() => (asking = null));
  return asking;
}
