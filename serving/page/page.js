/** The page of the server: the models, one text, and many texts. */

import { ask, Refused } from "./api.js";
import { Batch } from "./batch.js";
import { connectTyping } from "./typing.js";
import { say, translate } from "./words.js";

const element = (id) => document.getElementById(id);
let served = { models: [], limits: {} };

const current = () => served.models.find(({ name }) => name === element("model").value);
const predictAgain = connectTyping(current);
const batch = new Batch(current, () => served.limits);

async function start() {
  element("failure").hidden = true;
  const report = (message) => (element("about").textContent = message);
  try {
    served = await ask("models", null, new AbortController().signal, report);
  } catch (error) {
    element("failure").hidden = false;
    element("failure").firstElementChild.textContent = error.message;
    if (!(error instanceof Refused)) throw error;
    return;
  }
  element("model").replaceChildren(...served.models.map(({ name }) => new Option(name, name)));
  element("model").disabled = served.models.length < 2;
  change();
}

/** Shows what the model that is chosen is, and predicts again. */
function change() {
  const { name, model, classes, limit } = current();
  const kind = name === model ? "" : model + say("comma");
  element("about").textContent = kind + say("about", classes.length, limit);
  predictAgain();
  if (batch.source) batch.again();
}

translate();
element("model").addEventListener("change", change);
element("failure").lastElementChild.addEventListener("click", start);
start();
