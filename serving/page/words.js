/** The words of the page, Chinese and English, and numbers in the browser's language. */

const WORDS = {
  title: ["Text classification", "文本分类"],
  model: ["Model", "模型"],
  about: ["{0} classes, reads {1} tokens of a text", "{0} 个类别，读取文本的 {1} 个词元"],
  again: ["Try again", "重试"],
  one: ["One text", "单条文本"],
  one_placeholder: ["Type a headline or a short text", "输入一个标题或一段短文本"],
  bars: ["Most probable classes", "概率最高的类别"],
  for: ["for the class", "支持该类别"],
  against: ["against it", "反对该类别"],
  reasons: ["Decisive: {0}", "依据：{0}"],
  between: [", ", "、"],
  nothing: ["No text", "没有文本"],
  no_label: ["No label", "无标签"],
  comma: [", ", "，"],
  many: ["Many texts", "批量文本"],
  many_placeholder: ["Paste texts, one a line, or cells of a spreadsheet", "粘贴多行文本（每行一条）或表格中的单元格"],
  choose: ["Choose a file", "选择文件"],
  or_drop: [
    "or drop a .csv, .tsv or .txt file on this page (UTF-8 or GB18030)",
    "或把 .csv、.tsv、.txt 文件拖到此页面（UTF-8 或 GB18030）",
  ],
  pasted: ["Pasted text", "粘贴的文本"],
  rows: ["{0}: {1} rows", "{0}：{1} 行"],
  delimiter: ["delimiter: {0}", "分隔符：{0}"],
  ",": ["comma", "逗号"],
  ";": ["semicolon", "分号"],
  "\t": ["tab", "制表符"],
  "|": ["|", "|"],
  blank: ["blank lines skipped: {0}", "跳过的空行：{0}"],
  uneven: ["rows with another number of cells than the first: {0}", "单元格个数与第一行不同的行：{0}"],
  column: ["Column of the texts", "文本所在的列"],
  header: ["The first row has the names of the columns", "第一行是列名"],
  start: ["Classify {0} rows", "分类 {0} 行"],
  go_on: ["Continue", "继续"],
  stop: ["Stop", "停止"],
  progress: ["Progress", "进度"],
  of: ["{0} of {1} rows", "{0} / {1} 行"],
  done: ["Done, with model {0}.", "完成，模型：{0}。"],
  stopped: ["Stopped.", "已停止。"],
  below: ["Probability at most", "概率不高于"],
  download: ["Download {0} rows (.csv)", "下载 {0} 行（.csv）"],
  table: ["Predictions", "预测结果"],
  table_hint: ["Select a text to see the characters that decided.", "点击一条文本，查看起决定作用的字。"],
  row: ["Row", "行"],
  text: ["Text", "文本"],
  label: ["Label", "标签"],
  probability: ["Probability", "概率"],
  too_long: ["too long", "过长"],
  key: ["Key of this server", "此服务的密钥"],
  key_form: ["Letters, digits and punctuation, no spaces", "字母、数字和标点，不含空格"],
  key_missing: [
    "This server answers only with a key. It is kept until this tab is closed.",
    "此服务需要密钥才能访问。密钥只保存到此标签页关闭为止。",
  ],
  key_wrong: ["The server does not accept this key.", "服务不接受此密钥。"],
  key_send: ["Send", "确定"],
  cancel: ["Cancel", "取消"],
  gone: ["The server does not answer. Next attempt in {0} s.", "服务没有响应，{0} 秒后重试。"],
  busy: ["The server is busy. Next attempt in {0} s.", "服务繁忙，{0} 秒后重试。"],
  401: ["The server needs a key.", "服务需要密钥。"],
  413: ["The request is too large: {0}", "请求过大：{0}"],
  refused: ["The server refused the request: {0}", "服务拒绝了请求：{0}"],
  encoding: ["{0}: the encoding is not UTF-8, GB18030 or UTF-16", "{0}：编码不是 UTF-8、GB18030 或 UTF-16"],
  quote: [
    "{0}, line {1}: a cell begins with a quote that is not closed",
    "{0}，第 {1} 行：单元格以引号开头，但引号没有闭合",
  ],
  large: [
    "{0} is larger than this page takes ({1} MB, {2} rows); use predict.py --input",
    "{0} 超过此页面的上限（{1} MB、{2} 行），请使用 predict.py --input",
  ],
  unreadable: ["{0}: the browser cannot read the file", "{0}：浏览器无法读取此文件"],
  empty: ["{0}: no texts", "{0}：没有文本"],
};

const language = navigator.language.toLowerCase().startsWith("zh") ? 1 : 0;
const locale = ["en", "zh-CN"][language];
const plain = new Intl.NumberFormat(locale);
const share = new Intl.NumberFormat(locale, { style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 });

/** The words of a key, with values in the places of {0}, {1}; numbers are written with separators. */
export function say(key, ...values) {
  const written = values.map((value) => (typeof value === "number" ? number(value) : value));
  return WORDS[key][language].replace(/\{(\d)\}/g, (_, i) => written[i]);
}

export const has = (key) => Object.hasOwn(WORDS, key);
const number = (value) => plain.format(value);
export const percent = (value) => share.format(value);

/** Writes the words into the elements that name a key. */
export function translate() {
  document.documentElement.lang = locale;
  document.title = say("title");
  for (const [name, attribute] of [["placeholder", "placeholder"], ["label", "aria-label"], ["title", "title"]]) {
    for (const element of document.querySelectorAll(`[data-${name}]`)) {
      element.setAttribute(attribute, say(element.dataset[name]));
    }
  }
  for (const element of document.querySelectorAll("[data-word]")) {
    element.textContent = say(element.dataset.word);
  }
}
