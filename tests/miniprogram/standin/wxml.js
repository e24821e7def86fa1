// Reads WXML and renders it with a page's data, as far as this mini program uses it. A name that the data does not have
// is an error, not an empty place.
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const vm = require("node:vm");

const TOKEN = /<!--[\s\S]*?-->|<(\/?)([\w-]+)((?:\s+[\w:-]+(?:\s*=\s*(?:"[^"]*"|'[^']*'))?)*)\s*(\/?)>/g;
const ATTRIBUTE = /([\w:-]+)(?:\s*=\s*(?:"([^"]*)"|'([^']*)'))?/g;

// {tag, attributes, children} and texts; included files are in their places.
function read(file) {
  const source = fs.readFileSync(file, "utf8");
  const root = { tag: "page", attributes: {}, children: [] };
  const open = [root];
  const text = (raw) => raw.trim() && open.at(-1).children.push(raw.trim());
  let end = 0;
  for (const match of source.matchAll(TOKEN)) {
    text(source.slice(end, match.index));
    end = match.index + match[0].length;
    const [, closes, tag, attributes, isEmpty] = match;
    if (!tag) continue;
    if (closes) {
      const last = open.pop();
      if (last.tag !== tag) throw new Error(`${file}: </${tag}> closes <${last.tag}>`);
      continue;
    }
    const node = { tag, attributes: {}, children: [] };
    for (const [, name, one, other] of attributes.matchAll(ATTRIBUTE)) node.attributes[name] = one ?? other ?? "";
    if (tag === "include") {
      open.at(-1).children.push(...read(path.resolve(path.dirname(file), node.attributes.src)).children);
    } else {
      open.at(-1).children.push(node);
      if (!isEmpty) open.push(node);
    }
  }
  text(source.slice(end));
  if (open.length !== 1) throw new Error(`${file}: <${open.at(-1).tag}> is not closed`);
  return root;
}

function* walk(node) {
  yield node;
  for (const child of node.children) if (typeof child === "object") yield* walk(child);
}

function evaluate(expression, data) {
  const scope = new Proxy(data, {
    has: () => true,
    get(target, name) {
      if (name === Symbol.unscopables) return undefined;
      if (!(name in target)) throw new Error(`{{${expression}}}: the page has no ${String(name)}`);
      return target[name];
    },
  });
  const value = vm.compileFunction(`with (scope) { return (${expression}) }`, ["scope"])(scope);
  if (value === undefined) throw new Error(`{{${expression}}} is undefined`);
  return value;
}

function filled(text, data) {
  const whole = /^\{\{([^}]*)\}\}$/.exec(text);
  if (whole) return evaluate(whole[1], data);
  return text.replace(/\{\{([^}]*)\}\}/g, (_, expression) => String(evaluate(expression, data)));
}

// The nodes that are shown, their attributes and texts filled in.
function render(node, data) {
  const attributes = {};
  for (const [name, value] of Object.entries(node.attributes)) {
    if (!name.startsWith("wx:")) attributes[name] = filled(value, data);
  }
  const children = [];
  let isChosen = false; // by an earlier branch of wx:if, wx:elif, wx:else
  for (const child of node.children) {
    if (typeof child === "string") {
      children.push(String(filled(child, data)));
      continue;
    }
    const given = child.attributes;
    const isBranch = "wx:elif" in given || "wx:else" in given;
    if (isBranch && isChosen) continue;
    const condition = given["wx:if"] ?? given["wx:elif"];
    const isShown = condition === undefined || Boolean(filled(condition, data));
    if (condition !== undefined || isBranch) isChosen = isShown;
    if (!isShown) continue;
    if (!("wx:for" in given)) children.push(render(child, data));
    else {
      const item = given["wx:for-item"] ?? "item";
      filled(given["wx:for"], data).forEach((value, index) => children.push(render(child, { ...data, [item]: value, index })));
    }
  }
  return { tag: node.tag, attributes, children };
}

function textOf(node) {
  return typeof node === "string" ? node : node.children.map(textOf).filter(Boolean).join(" ");
}

module.exports = { read, render, textOf, walk };
