// What can be seen without running: files, handlers, names, words. Needs no shop.
"use strict";

const assert = require("node:assert/strict");
const fs = require("node:fs");
const path = require("node:path");
const { test } = require("node:test");
const { Phone, ROOT, appJson } = require("./standin/phone");
const wxml = require("./standin/wxml");

const PAGES = appJson().pages;
const CLASSES = new Set(["page"]);
const EVENT = /^(?:bind|catch|capture-bind|capture-catch|mut-bind):?\w+$/;

function files(ending, folder = ROOT) {
  return fs.readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const full = path.join(folder, entry.name);
    return entry.isDirectory() ? files(ending, full) : full.endsWith(ending) ? [full] : [];
  });
}

const read = (file) => fs.readFileSync(file, "utf8");
const short = (file) => path.relative(ROOT, file);
const template = (route) => wxml.read(path.join(ROOT, `${route}.wxml`));
const values = (node) => [...Object.values(node.attributes), ...node.children.filter((child) => typeof child === "string")];
const expressions = (node) => values(node).flatMap((value) => [...value.matchAll(/\{\{([^}]*)\}\}/g)].map((match) => match[1]));
const rootsOf = (expression) => {
  const bare = expression.replace(/'[^']*'|"[^"]*"/g, "");
  return [...bare.matchAll(/(?<![\w.])([A-Za-z_]\w*)/g)].map((match) => match[1]);
};

test("every page has its files, and every file its page", () => {
  for (const route of PAGES) {
    for (const ending of [".js", ".json", ".wxml"]) assert.ok(fs.existsSync(path.join(ROOT, route + ending)), route + ending);
  }
  const there = files(".wxml", path.join(ROOT, "pages")).map((file) => short(file).replace(/\.wxml$/, ""));
  assert.deepEqual(there.sort(), [...PAGES].sort());
});

test("every JSON file is JSON, and names files that exist", () => {
  for (const file of files(".json")) JSON.parse(read(file));
  assert.ok(fs.existsSync(path.join(ROOT, appJson().sitemapLocation)));
});

test("every link leads to a page", () => {
  for (const route of PAGES) {
    const { entries = [] } = new Phone().definition(route).data;
    for (const { url } of entries) assert.ok(PAGES.includes(url.slice(1).split("?")[0]), url);
  }
});

for (const route of PAGES) {
  test(`${route}: every handler is in the page`, () => {
    const page = new Phone().definition(route);
    for (const node of wxml.walk(template(route))) {
      for (const [name, handler] of Object.entries(node.attributes)) {
        if (EVENT.test(name)) assert.equal(typeof page[handler], "function", `<${node.tag} ${name}="${handler}">`);
      }
    }
  });

  test(`${route}: every name is in the page's data, or that of a list around it`, () => {
    const { data } = new Phone().definition(route);
    const look = (node, known) => {
      const inner = new Set(known);
      if ("wx:for" in node.attributes) inner.add(node.attributes["wx:for-item"] ?? "item").add("index");
      for (const expression of expressions(node)) {
        for (const name of rootsOf(expression)) assert.ok(inner.has(name), `{{${expression}}}: no ${name}`);
      }
      for (const child of node.children) if (typeof child === "object") look(child, inner);
    };
    look(template(route), new Set(Object.keys(data)));
  });

  test(`${route}: a button is disabled while something runs`, () => {
    for (const node of wxml.walk(template(route))) {
      if (node.tag === "button") assert.match(node.attributes.disabled ?? "", /\bisBusy\b/, JSON.stringify(node.attributes));
    }
  });
}

test("every class of a page is in the style sheet", () => {
  const known = new Set([...read(path.join(ROOT, "app.wxss")).matchAll(/\.([a-z][\w-]*)/g)].map((match) => match[1]));
  for (const route of PAGES) {
    for (const { attributes } of wxml.walk(template(route))) {
      const names = (attributes.class ?? "").replace(/\{\{[^}]*\}\}/g, " ").split(/\s+/).filter(Boolean);
      for (const name of names) assert.ok(known.has(name) || CLASSES.has(name), `${route}: ${name}`);
    }
  }
});

test("both languages have the same texts, none is empty, every one is used, every used one is there", () => {
  const { en, "zh-Hans": chinese } = new Phone().require("utils/texts.js").all;
  assert.deepEqual(Object.keys(chinese), Object.keys(en));
  for (const words of [en, chinese]) for (const [name, text] of Object.entries(words)) assert.ok(text.trim(), name);
  for (const [name, text] of Object.entries(chinese)) {
    if (!["index_title"].includes(name)) assert.match(text, /[\u4e00-\u9fff]/, name);
  }

  const sources = [...files(".js"), ...files(".wxml")].filter((file) => !file.endsWith("texts.js"));
  const used = new Set();
  const families = new Set();
  for (const source of sources.map(read)) {
    for (const [, name] of source.matchAll(/\b(?:t|words|words\(\))\.(\w+)/g)) used.add(name);
    for (const [, name] of source.matchAll(/\btitle: "(\w+)"/g)) used.add(name);
    for (const [, family] of source.matchAll(/words\[`(\w+_)\$\{/g)) families.add(family);
  }
  used.delete("words");
  for (const name of used) assert.ok(name in en, `${name} is used, but no text`);
  const isUsed = (name) => used.has(name) || [...families].some((family) => name.startsWith(family));
  assert.deepEqual(Object.keys(en).filter((name) => !isUsed(name)), []);
});

test("there is no secret, and no appid but that of WeChat Pay", () => {
  for (const file of [...files(".js"), ...files(".json"), ...files(".wxml")]) {
    assert.deepEqual(read(file).match(/\bwx[0-9a-f]{16}\b/g)?.filter((appid) => appid !== "wxbd687630cd02ce1d") ?? [], [], short(file));
    assert.doesNotMatch(read(file), /PRIVATE KEY|app_?secret\s*[:=]|apiv3/i, short(file));
  }
});

test("amounts are written from minor units, in the manner of each language", () => {
  const { inWords } = new Phone().require("utils/money.js");
  const written = [
    [3800, "HKD", "en", "HK$38.00"],
    [3500, "CNY", "en", "CN¥35.00"],
    [3500, "CNY", "zh-Hans", "¥35.00"],
    [5, "CNY", "zh-Hans", "¥0.05"],
    [0, "CNY", "en", "CN¥0.00"],
    [123456789, "HKD", "en", "HK$1,234,567.89"],
    [3800, "JPY", "en", "¥3,800"],
    [-800, "HKD", "en", "−HK$8.00"],
    [100, "NZD", "en", "NZD 1.00"],
  ];
  for (const [amount, currency, language, text] of written) assert.equal(inWords(amount, currency, language), text);
});

test("the language is WeChat's, old clients' too", () => {
  const language = (options) => new Phone(options).require("utils/texts.js").language();
  assert.equal(language({ language: "zh_CN" }), "zh-Hans");
  assert.equal(language({ language: "zh_TW" }), "zh-Hans");
  assert.equal(language({ language: "en" }), "en");
  assert.equal(language({ language: "fr" }), "en");
  assert.equal(language({ language: "zh_CN", has: { getAppBaseInfo: false } }), "zh-Hans");
});
