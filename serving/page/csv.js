/** Files of cells between delimiters, or of one text a line: their rows, read and written. */

import { say } from "./words.js";

export const MOST_BYTES = 1 << 28; // of a file
const SAMPLE = 1 << 16; // characters that decide the form
const SAMPLE_ROWS = 100;
const LONGEST_NAME = 20; // characters of a column's name, if it is guessed
const DELIMITERS = [",", "\t", ";", "|"];
const FORMULA = /^[=+\-@＝＋－＠\t\r]/; // begins a cell that a spreadsheet would compute
const NUMBER = /^[+-]?\d+([.,]\d+)*%?$/;

/** The text in a file's bytes and its encoding; null if it has none of the known ones. */
export function decode(bytes) {
  const wide = { "255 254": "utf-16le", "254 255": "utf-16be" }[bytes.subarray(0, 2).join(" ")]; // by its mark
  for (const encoding of wide ? [wide] : ["utf-8", "gb18030"]) {
    try {
      return { text: new TextDecoder(encoding, { fatal: true }).decode(bytes), encoding: encoding.toUpperCase() };
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
    }
  }
  return null;
}

/**
 * The form in which most rows have as many cells as the first: `{delimiter, quoted}`, the delimiter "" for lines.
 * usual: the delimiter that is tried first, "" for a text in which only tabs may be some.
 */
export function findForm(text, usual) {
  const sample = text.length > SAMPLE ? text.slice(0, text.lastIndexOf("\n", SAMPLE) + 1 || SAMPLE) : text;
  const forms = [{ delimiter: "", quoted: usual !== "", evenness: 0 }];
  for (const delimiter of usual ? new Set([usual, ...DELIMITERS]) : ["\t"]) {
    for (const quoted of delimiter === "\t" ? [false, true] : [true]) {
      const widths = parse(sample, { delimiter, quoted }).rows.map((row) => row.length);
      const even = widths[0] > 1 ? widths.filter((width) => width === widths[0]).length / widths.length : 0;
      if (usual || even === 1) forms.push({ delimiter, quoted, evenness: even });
    }
  }
  return forms.reduce((best, form) => (form.evenness > best.evenness ? form : best));
}

/**
 * The rows of a text, lists of cells, without blank ones, whose number is `blank`. `open`: the line of a quote that is
 * not closed, null without one.
 */
export function parse(text, { delimiter, quoted }) {
  const end = new RegExp(`[\\n\\r${delimiter}]`, "g");
  const rows = [];
  let [cells, at, blank, open] = [[], 0, 0, null];
  while (at < text.length) {
    let cell = "";
    if (quoted && text[at] === '"') {
      const start = at;
      do {
        const close = text.indexOf('"', at + 1);
        if (close < 0) open ??= text.slice(0, start).split(/\r\n|\n|\r/).length;
        cell += (at > start ? '"' : "") + text.slice(at + 1, close < 0 ? text.length : close);
        at = close < 0 ? text.length : close + 1;
      } while (text[at] === '"');
    }
    end.lastIndex = at;
    const stop = end.exec(text)?.index ?? text.length;
    cells.push(cell + text.slice(at, stop));
    at = stop + 1;
    if (stop < text.length && text[stop] === delimiter) {
      if (at < text.length) continue;
      cells.push("");
    }
    if (text[stop] === "\r" && text[at] === "\n") at += 1;
    if (cells.some((own) => own.trim())) rows.push(cells);
    else blank += 1;
    cells = [];
  }
  return { rows, blank, open };
}

/** Which column has the texts, the longest on average, and whether the first row has the names of the columns. */
export function guessColumn(rows) {
  const sample = rows.slice(0, SAMPLE_ROWS);
  const rest = sample.slice(1);
  const lengths = sample[0].map((_, i) => sum((rest.length ? rest : sample).map((cells) => (cells[i] ?? "").length)));
  const column = lengths.indexOf(Math.max(...lengths));
  const names = sample[0].map((name) => name.trim());
  const isName = (name, i) =>
    name && name.length <= LONGEST_NAME && !NUMBER.test(name) && !rest.some((cells) => cells[i]?.trim() === name);
  const isShorter = rest.length > 0 && names[column].length * rest.length < 0.7 * lengths[column];
  const isHeader = isShorter && names.every(isName) && new Set(names).size === names.length;
  return { column, hasHeader: isHeader && names.length > 1 }; // the first of single texts may just be short
}

const sum = (numbers) => numbers.reduce((total, value) => total + value, 0);

/**
 * Rows of cells as a .csv file, UTF-8 with a byte-order mark for Excel. A cell that a spreadsheet would compute gets an
 * apostrophe before it, unless it is a number.
 */
export function write(rows) {
  const lines = rows.map((cells) => `${cells.map(field).join(",")}\r\n`);
  return new Blob(["\ufeff", ...lines], { type: "text/csv;charset=utf-8" });
}

function field(value) {
  const safe = FORMULA.test(value) && !NUMBER.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/** What a file is in words. count: of the rows without the names of columns. */
export function describe(name, encoding, form, rows, count, blank) {
  const uneven = rows.filter((cells) => cells.length !== rows[0].length).length;
  const parts = [
    say("rows", name, count),
    encoding,
    form.delimiter && say("delimiter", say(form.delimiter)),
    blank && say("blank", blank),
    uneven && say("uneven", uneven),
  ];
  return parts.filter(Boolean).join(say("comma"));
}
