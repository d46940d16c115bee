/** One text: the classes and the characters that decided, while a person types. */

import { ask, pause, Refused } from "./api.js";
import { percent, say } from "./words.js";

const PAUSE = 120; // milliseconds without a key until a text is predicted
const LONGER = 600; // and then until it is explained, which costs a prediction for each of its characters
const BARS = 8; // classes that are shown
const LEVELS = 4; // of a colour
const DECISIVE = 1 / 2; // of the largest weight, from which on a character is a reason

const element = (id) => document.getElementById(id);
let running = new AbortController(); // the work on the text as it is now

/** Predicts what is typed with the model that `current` returns, if any. Returns a function to call when it changes. */
export function connectTyping(current) {
  const input = element("text");
  input.addEventListener("input", (event) => changed(current(), event.isComposing));
  input.addEventListener("compositionend", () => changed(current(), false));
  return () => changed(current(), false);
}

/** Shows a text as if it were typed. */
export function show(text) {
  const input = element("text");
  input.value = text;
  input.dispatchEvent(new Event("input"));
  input.focus({ preventScroll: true });
  input.scrollIntoView({ block: "center" });
}

async function changed(model, isComposing) {
  running.abort();
  running = new AbortController();
  const { signal } = running;
  const text = element("text").value.toWellFormed();
  paint(text, []);
  report("");
  element("said").textContent = "";
  element("answer").ariaBusy = "true";
  if (!model || isComposing) return; // the letters of an input method are no text yet
  if (!text.trim()) {
    element("answer").hidden = true;
    return;
  }
  const body = { model: model.name, text, top_k: Math.min(BARS, model.classes.length) };
  try {
    await pause(PAUSE, signal);
    showAnswer((await ask("predict", body, signal, report)).predictions[0], model);
    await pause(LONGER, signal);
    const [found] = (await ask("predict", { ...body, explain: true }, signal, report)).predictions;
    paint(text, found.weights);
    element("said").textContent = `${showAnswer(found, model)} ${element("reasons").textContent}`;
  } catch (error) {
    if (signal.aborted) return;
    element("answer").hidden = true;
    report(error.message);
    if (!(error instanceof Refused)) throw error;
  }
}

/** Shows why there is no answer yet. */
function report(message) {
  element("state").textContent = message;
  element("state").hidden = !message;
}

/** Shows a prediction, and returns it in words. */
function showAnswer(found, model) {
  const answer = element("answer");
  const predicted = labelsOf(found);
  const verdict = nameOf(predicted, model);
  element("verdict").textContent = verdict;
  element("verdict").hidden = predicted.length > 0; // the bars say it
  showBars(found.top_k, new Set(found.labels?.map(({ label }) => label)), model);
  answer.hidden = false;
  answer.ariaBusy = "false";
  return predicted.length === 1 ? verdict + say("comma") + percent(predicted[0].probability) : verdict;
}

function showBars(classes, predicted, model) {
  const bars = element("bars");
  while (bars.children.length < classes.length) bars.append(bar());
  while (bars.children.length > classes.length) bars.lastChild.remove();
  classes.forEach(({ label, probability }, i) => {
    const [name, track, share] = bars.children[i].children;
    name.textContent = pathOf(label, model) + (predicted.has(label) ? " ✓" : "");
    track.firstChild.style.width = `${100 * probability}%`;
    share.textContent = percent(probability);
    bars.children[i].classList.toggle("predicted", predicted.has(label) || (!model.multi_label && i === 0));
  });
}

function bar() {
  const row = document.createElement("li");
  for (const kind of ["name", "track", "share"]) {
    const part = document.createElement("span");
    part.className = kind;
    row.append(part);
  }
  row.children[1].append(document.createElement("span"));
  return row;
}

/** The labels that are predicted, with their probabilities; none for an empty text. */
export function labelsOf(found) {
  return found.labels ?? (found.label === null ? [] : [found]);
}

/** The names of predicted labels as a person reads them. */
export function nameOf(predicted, model) {
  const names = predicted.map(({ label }) => pathOf(label, model)).join(say("between"));
  return names || say(model.multi_label ? "no_label" : "nothing");
}

/** A class's name, with its levels apart if names are paths. */
function pathOf(label, model) {
  return model.levels > 1 ? label.split("/").join(" › ") : label;
}

/** Shows the text behind what is typed, its characters marked by their weights, (T,), and names the decisive ones. */
function paint(text, weights) {
  const characters = [...text];
  const largest = weights.reduce((most, weight) => Math.max(most, Math.abs(weight)), Number.MIN_VALUE);
  const levels = characters.map((_, i) => Math.round((LEVELS * (weights[i] ?? 0)) / largest));
  element("marks").replaceChildren(
    ...runs(characters, levels).map(([part, level]) => {
      if (!level) return part;
      const mark = document.createElement("span");
      mark.dataset.level = level;
      mark.textContent = part;
      return mark;
    }),
    "\u200b", // so that a line break at the end has its line
  );
  const decisive = runs(characters, characters.map((_, i) => weights[i] >= DECISIVE * largest));
  const reasons = decisive.filter(([, is]) => is).map(([part]) => part.trim()).filter(Boolean);
  element("reasons").textContent = reasons.length ? say("reasons", reasons.join(say("between"))) : "";
  element("legend").hidden = !levels.some(Boolean);
}

/** Neighbouring characters with the same value, joined, and the value. */
function runs(characters, values) {
  const found = [];
  characters.forEach((character, i) => {
    if (i && values[i] === values[i - 1]) found.at(-1)[0] += character;
    else found.push([character, values[i]]);
  });
  return found;
}
