/** Many texts: pasted or of a file, sent in chunks, with a bar, and downloaded with their labels. */

import { ask, Refused } from "./api.js";
import { decode, describe, findForm, guessColumn, MOST_BYTES, parse, write } from "./csv.js";
import { Table } from "./table.js";
import { labelsOf } from "./typing.js";
import { say } from "./words.js";

const MOST_ROWS = 200_000; // no browser draws a much higher table, with large letters
const FIRST = 64; // texts of the first request
const MOST = 4096; // and of each
const TARGET = 1000; // milliseconds that a request should take
const BODY = 256; // bytes of a request beside its texts
const LONG = 100_000; // characters of a text that is pasted
const MEGABYTE = 1 << 20;
const USUAL = { csv: ",", tsv: "\t" }; // delimiters

const element = (id) => document.getElementById(id);

export class Batch {
  /** current: a function that returns the model that is chosen; limits: one that returns those of the server. */
  constructor(current, limits) {
    Object.assign(this, { current, limits, table: new Table(), source: null, rows: null, running: null });
    const [lines, file] = [element("lines"), element("file")];
    lines.addEventListener("input", () => this.open(say("pasted"), lines.value, "", ""));
    lines.addEventListener("paste", (event) => this.paste(event));
    file.addEventListener("change", () => file.files.length && this.openFile(file.files[0]));
    document.addEventListener("dragover", (event) => this.drag(event, true));
    document.addEventListener("dragleave", (event) => this.drag(event, false));
    document.addEventListener("drop", (event) => this.drag(event, false));
    for (const id of ["column", "header"]) element(id).addEventListener("change", () => this.choose());
    element("start").addEventListener("click", () => this.run());
    element("stop").addEventListener("click", () => this.running.abort());
    element("download").addEventListener("click", () => this.download());
  }

  /** Takes over a long text without showing it, which takes a browser seconds. */
  paste(event) {
    const text = event.clipboardData.getData("text");
    if (text.length < LONG) return;
    event.preventDefault();
    element("lines").value = "";
    this.open(say("pasted"), text, "", "");
  }

  drag(event, isOver) {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    element("many").classList.toggle("over", isOver);
    if (event.type === "drop") this.openFile(event.dataTransfer.files[0]);
  }

  async openFile(file) {
    element("file").value = ""; // so that the same file can be chosen again
    element("lines").value = "";
    if (file.size > MOST_BYTES) return this.fail(say("large", file.name, MOST_BYTES / MEGABYTE, MOST_ROWS));
    let found;
    try {
      found = decode(new Uint8Array(await file.arrayBuffer()));
    } catch (error) {
      console.warn(error);
      return this.fail(say("unreadable", file.name));
    }
    if (!found) return this.fail(say("encoding", file.name));
    const suffix = file.name.split(".").at(-1).toLowerCase();
    this.open(file.name, found.text, found.encoding, USUAL[suffix] ?? "");
  }

  /** Takes over a text with rows, and shows what it is. usual: the delimiter that its name promises, or "". */
  open(name, text, encoding, usual) {
    this.reset();
    this.source = null;
    element("source").hidden = !text.trim();
    if (!text.trim()) return encoding && this.fail(say("empty", name));
    const form = findForm(text, usual);
    const { rows, blank, open } = parse(text, form);
    if (open !== null) return this.fail(say("quote", name, open));
    if (rows.length > MOST_ROWS) return this.fail(say("large", name, MOST_BYTES / MEGABYTE, MOST_ROWS));
    const { column, hasHeader } = guessColumn(rows);
    this.source = { name, encoding, form, rows, blank };
    element("header").checked = hasHeader;
    element("column").replaceChildren(...rows[0].map((cell, i) => new Option(`${i + 1}: ${cell.slice(0, 40)}`, i)));
    element("column").value = column;
    element("column").parentElement.hidden = rows[0].length === 1;
    element("header").parentElement.hidden = rows[0].length === 1 && !usual;
    this.choose();
  }

  /** Takes the texts of the column that is chosen. */
  choose() {
    this.reset();
    this.again();
  }

  /** Offers to begin, as after a change of the model. What another one has found stays in the table until then. */
  again() {
    this.running?.abort();
    const { name, encoding, form, rows, blank } = this.source;
    const column = Number(element("column").value);
    const skipped = element("header").checked ? 1 : 0;
    this.rows = rows.slice(skipped).map((cells, i) => ({
      row: i + 1, cells, text: (cells[column] ?? "").toWellFormed(), found: null, label: null, probability: null,
    }));
    element("found").textContent = describe(name, encoding, form, rows, this.rows.length, blank);
    this.offer("start");
  }

  /** Forgets what the model has found. */
  reset() {
    this.running?.abort();
    [this.rows, this.running] = [null, null];
    for (const id of ["work", "results"]) element(id).hidden = true;
    element("done").textContent = "";
  }

  fail(message) {
    this.reset();
    this.source = null;
    element("source").hidden = false;
    element("found").textContent = message;
    for (const id of ["column", "header"]) element(id).parentElement.hidden = true;
    element("start").hidden = true;
  }

  /** Shows the button that begins, or goes on after a stop. */
  offer(word) {
    element("start").textContent = say(word, this.rows.length);
    element("start").hidden = false;
    element("start").disabled = !this.rows.length;
    moveFocus("stop", "start");
    element("stop").hidden = true;
  }

  /** Sends the rows that have no prediction, a chunk after the other. */
  async run() {
    const [rows, model] = [this.rows, this.current()];
    if (!model) return;
    if (this.table.rows !== rows) this.table.open(rows, model);
    this.running = new AbortController();
    const { signal } = this.running;
    let size = FIRST;
    for (const id of ["stop", "work"]) element(id).hidden = false;
    moveFocus("start", "stop");
    element("start").hidden = true;
    const report = (message) => (element("done").textContent = message);
    report("");
    try {
      for (let at = 0; at < rows.length; ) {
        const { chunk, end } = this.chunkFrom(rows, at, size);
        if (chunk.length) {
          const before = performance.now();
          const body = { model: model.name, texts: chunk.map((row) => row.text) };
          const { predictions } = await ask("predict", body, signal, report);
          predictions.forEach((found, i) => take(chunk[i], found));
          const faster = TARGET / (performance.now() - before);
          size = Math.ceil(Math.min(MOST, size * Math.min(2, Math.max(faster, 0.5))));
        }
        at = end;
        this.progress(at, rows.length);
        this.table.updateSoon();
      }
      report(say("done", model.name));
      moveFocus("stop", "download");
      element("stop").hidden = true;
    } catch (error) {
      if (this.rows !== rows) return;
      report(signal.aborted ? say("stopped") : error.message);
      this.offer("go_on");
      if (!signal.aborted && !(error instanceof Refused)) throw error;
    } finally {
      if (this.rows === rows) this.table.update();
    }
  }

  /** The next rows of one request, at most `size`, and the index after them. Marks those that fit into none. */
  chunkFrom(rows, start, size) {
    const { texts, bytes, characters } = this.limits();
    const [most, encoder, chunk] = [Math.min(texts, size), new TextEncoder(), []];
    let [end, sum] = [start, BODY];
    for (; end < rows.length && chunk.length < most; end++) {
      const row = rows[end];
      if (row.found || row.problem) continue;
      const own = encoder.encode(JSON.stringify(row.text)).length + 1;
      if ([...row.text].length > characters || BODY + own > bytes) {
        row.problem = "too_long";
        continue;
      }
      if (sum + own > bytes) break;
      sum += own;
      chunk.push(row);
    }
    return { chunk, end };
  }

  progress(done, all) {
    element("progress").value = done / all;
    element("count").textContent = say("of", done, all);
  }

  /** Downloads the rows that the table shows, in its order: the cells of the source, the label and the probability. */
  download() {
    const names = this.namesOfColumns();
    const fresh = (name) => (names.includes(name) ? `predicted_${name}` : name);
    const added = this.table.model.multi_label ? ["labels", "probabilities"] : ["label", "probability"];
    const lines = this.table.view.map((row) => [...names.map((_, i) => row.cells[i] ?? ""), ...fieldsOf(row)]);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(write([[...names, ...added.map(fresh)], ...lines]));
    link.download = "predictions.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // after the browser has read it
  }

  namesOfColumns() {
    const [first] = this.source.rows;
    if (element("header").checked) return first;
    return first.map((_, i) => (i === Number(element("column").value) ? "text" : `column_${i + 1}`));
  }
}

/** Moves the focus away from an element that is about to be hidden. */
function moveFocus(from, to) {
  if (document.activeElement === element(from)) element(to).focus();
}

/** Takes over what the model finds in a row's text: its labels with their probabilities, none if it is empty. */
function take(row, found) {
  row.found = labelsOf(found);
  row.label = row.found.map(({ label }) => label).join();
  row.probability = row.found[0]?.probability ?? null;
}

/** The label and the probability of a row as cells; of several, between commas. */
function fieldsOf({ found, label }) {
  return [label ?? "", (found ?? []).map(({ probability }) => probability.toFixed(4)).join()];
}
