/** The table of predictions: sorted, filtered, and drawn as far as it is seen. */

import { percent, say } from "./words.js";
import { nameOf, show } from "./typing.js";

const HEIGHT = 2.5 * parseFloat(getComputedStyle(document.documentElement).fontSize); // pixels, as in page.css
const SPARE = 12; // rows that are drawn above and below those that are seen
const SLOW = 500; // milliseconds between two updates while rows arrive, at least
const IDLE = 5; // times as long as an update takes, the time to the next one

const element = (id) => document.getElementById(id);

/** A row has its number, the cells of its source, its text, and what the model finds, null before. */
export class Table {
  constructor() {
    this.rows = this.view = [];
    this.sort = "row";
    this.sign = 1;
    this.timer = null;
    this.pause = SLOW;
    this.drawn = [0, 0]; // the first of the rows that have an element, and the one after the last
    this.scroller = element("scroller");
    this.body = element("rows");
    this.before = spacer();
    this.after = spacer();
    this.body.replaceChildren(this.before, this.after);
    this.scroller.addEventListener("scroll", () => this.draw(), { passive: true });
    new ResizeObserver(() => this.draw()).observe(this.scroller);
    for (const button of document.querySelectorAll("[data-sort]")) {
      button.addEventListener("click", () => this.sortBy(button));
    }
    element("below").addEventListener("input", () => this.update());
  }

  /** Shows other rows, predicted by a model. */
  open(rows, model) {
    [this.rows, this.model] = [rows, model];
    element("results").hidden = false;
    this.scroller.scrollTop = 0;
    this.update();
  }

  sortBy(button) {
    const { sort } = button.dataset;
    this.sign = this.sort === sort ? -this.sign : 1;
    this.sort = sort;
    for (const head of this.scroller.querySelectorAll("th")) head.removeAttribute("aria-sort");
    button.parentElement.setAttribute("aria-sort", this.sign > 0 ? "ascending" : "descending");
    this.scroller.scrollTop = 0;
    this.update();
  }

  /** Shows what has changed in the rows, soon. */
  updateSoon() {
    this.timer ??= setTimeout(() => this.update(), this.pause);
  }

  update() {
    const start = performance.now();
    clearTimeout(this.timer);
    this.timer = null;
    const bound = element("below").valueAsNumber;
    element("bound").textContent = `${bound}%`;
    const isShown = ({ probability }) => bound === 100 || (probability !== null && probability <= bound / 100);
    this.view = this.rows.filter(isShown).sort(orderBy(this.sort, this.sign));
    element("download").textContent = say("download", this.view.length);
    element("download").disabled = !this.view.length;
    this.scroller.firstElementChild.setAttribute("aria-rowcount", this.view.length + 1);
    this.drawn = [0, 0];
    const focused = this.body.contains(document.activeElement) && document.activeElement.dataset.row;
    this.body.replaceChildren(this.before, this.after);
    this.draw();
    if (focused) this.body.querySelector(`[data-row="${focused}"]`)?.focus({ preventScroll: true });
    this.pause = Math.max(SLOW, IDLE * (performance.now() - start));
  }

  /** Draws the rows that are seen. Those that remain keep their elements, and so the focus. */
  draw() {
    const first = Math.floor(this.scroller.scrollTop / HEIGHT);
    const seen = Math.ceil(this.scroller.clientHeight / HEIGHT);
    const end = Math.min(this.view.length, first + seen + SPARE);
    const start = Math.min(Math.max(0, first - SPARE), end);
    if (start >= this.drawn[1] || end <= this.drawn[0]) {
      this.body.replaceChildren(this.before, this.after);
      this.drawn = [start, start];
    }
    for (; this.drawn[0] < start; this.drawn[0]++) this.before.nextSibling.remove();
    for (; this.drawn[1] > end; this.drawn[1]--) this.after.previousSibling.remove();
    while (this.drawn[0] > start) this.before.after(this.element(--this.drawn[0]));
    while (this.drawn[1] < end) this.after.before(this.element(this.drawn[1]++));
    this.before.firstChild.style.height = `${HEIGHT * start}px`;
    this.after.firstChild.style.height = `${HEIGHT * (this.view.length - end)}px`;
  }

  element(i) {
    const row = this.view[i];
    const line = document.createElement("tr");
    line.setAttribute("aria-rowindex", i + 2);
    const contents = [row.row, row.text, ...this.foundIn(row)];
    const parts = contents.map((content, i) => {
      const part = document.createElement(i === 1 ? "button" : "span");
      part.textContent = content;
      line.insertCell().append(part);
      return part;
    });
    parts[1].type = "button";
    parts[1].dataset.row = row.row;
    parts[1].addEventListener("click", () => show(row.text));
    return line;
  }

  /** The label and the probability of a row as a person reads them. */
  foundIn(row) {
    if (row.problem) return [say(row.problem), ""];
    if (!row.found) return ["", ""];
    return [nameOf(row.found, this.model), row.probability === null ? "" : percent(row.probability)];
  }
}

/** An element that takes the place of rows which are not drawn. */
function spacer() {
  const line = document.createElement("tr");
  line.className = "spacer";
  line.setAttribute("aria-hidden", "true");
  line.insertCell().colSpan = 4;
  return line;
}

/** A comparison of rows. Those without a value are last, equal ones in the order of their source. */
function orderBy(name, sign) {
  return (a, b) => {
    const x = a[name];
    const y = b[name];
    if (x === y) return a.row - b.row;
    if (x === null || y === null) return x === null ? 1 : -1;
    return x < y ? -sign : sign;
  };
}
