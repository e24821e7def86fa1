// A phone with WeChat on it that runs the mini program: App, Page, wx, the modules and the pages, each phone its own.
//
// wx.request really asks the demo's shop. What the client's payment calls were given waits in `opened` until a test plays
// the user: through the sandbox, as WeChat would, and then by telling the mini program what WeChat would tell it.
"use strict";

const assert = require("node:assert/strict");
const fs = require("node:fs");
const path = require("node:path");
const vm = require("node:vm");
const { send } = require("./http");
const wxml = require("./wxml");

const ROOT = path.resolve(__dirname, "../../../example_project/miniprogram");
const SIGNING_APPID = "wxbd687630cd02ce1d";
const SOON_MS = 90_000; // what is waited for comes, and a busy machine is no fault
const POLL_MS = 50;
const PACKAGE = "@tenpay/wechatpay-miniprogram-individual-contracts";

const appJson = () => JSON.parse(fs.readFileSync(path.join(ROOT, "app.json"), "utf8"));
const later = (deed) => setImmediate(deed);

async function until(what, holds, said = () => "") {
  const end = Date.now() + SOON_MS;
  for (;;) {
    const value = await holds();
    if (value) return value;
    if (Date.now() > end) throw new Error(`${what}: not within ${SOON_MS / 1000} s. ${said()}`);
    await new Promise((done) => setTimeout(done, POLL_MS));
  }
}

class Phone {
  // name: who holds it. has: calls that this WeChat lacks are false.
  constructor({ name = "Guest", language = "en", shop = process.env.SHOP_URL ?? "http://shop.invalid", config = {}, has = {} } = {}) {
    Object.assign(this, { name, language, shop, has });
    this.isOffline = false;
    this.spoiled = 0; // so many requests are sent with a token that the shop does not take
    this.isSure = true; // what is tapped when the mini program asks
    this.requests = [];
    this.errors = [];
    this.opened = null;
    this.title = "";
    this.stack = [];
    this.logins = 0;
    this._modules = {};
    this.wx = this._wx();
    this._context = vm.createContext(this._globals());
    vm.runInContext("delete globalThis.Intl", this._context); // phones lack it
    const fast = { shopUrl: shop, askEveryMs: 500, askForMs: SOON_MS, doubtMs: 2000, cancelledMs: 1000, lateMs: 200 };
    Object.assign(this.require("utils/config.js"), fast, config);
    this.require("app.js");
    this.app.onShow?.({ scene: 1001, referrerInfo: {} });
  }

  // What the user sees and does

  get page() {
    return this.stack.at(-1);
  }

  get data() {
    return JSON.parse(JSON.stringify(this.page.data));
  }

  // What a page's file hands to Page.
  definition(route) {
    this._registered = null;
    delete this._modules[path.join(ROOT, `${route}.js`)];
    this.require(`${route}.js`);
    return this._registered;
  }

  // Open a page as a navigator does; resolves when it has loaded.
  async open(url) {
    const [route, query = ""] = url.replace(/^\//, "").split("?");
    assert.ok(appJson().pages.includes(route), `${route} is no page of app.json`);
    this.page?.onHide?.();
    const definition = this.definition(route);
    const page = Object.create(definition);
    page.data = JSON.parse(JSON.stringify(definition.data));
    page.setData = (given) => {
      for (const [key, value] of Object.entries(given)) {
        assert.notEqual(value, undefined, `setData: ${key} is undefined`);
        page.data[key] = JSON.parse(JSON.stringify(value));
      }
    };
    page.template = wxml.read(path.join(ROOT, `${route}.wxml`));
    this.stack.push(page);
    const loaded = page.onLoad(Object.fromEntries(new URLSearchParams(query)));
    page.onShow();
    await loaded;
  }

  get tree() {
    return wxml.render(this.page.template, this.page.data);
  }

  get text() {
    return wxml.textOf(this.tree);
  }

  sees(...texts) {
    const missing = () => texts.filter((text) => !this.text.includes(text));
    return until(`${this.name} sees ${texts.join(", ")}`, () => missing().length === 0, () => `The page says: ${this.text}`);
  }

  // The button with that label; within: a text of the card that it is in.
  button(label, within = "") {
    const cards = [...wxml.walk(this.tree)].filter((node) => /\bcard\b/.test(node.attributes.class ?? ""));
    const places = within ? cards.filter((card) => wxml.textOf(card).includes(within)) : [this.tree];
    for (const place of places) {
      for (const node of wxml.walk(place)) if (node.tag === "button" && wxml.textOf(node) === label) return node;
    }
    return null;
  }

  // Tap a button; resolves when all that it starts has ended. Disabled buttons do nothing, so tapping one is an error.
  tap(label, within) {
    const button = this.button(label, within);
    assert.ok(button, `no button "${label}" ${within ? `near "${within}"` : ""} on: ${this.text}`);
    assert.ok(!button.attributes.disabled, `"${label}" is disabled`);
    return this.page[button.attributes.bindtap](eventOf(button));
  }

  // Choose what these checkboxes are next to.
  choose(...labels) {
    const group = [...wxml.walk(this.tree)].find((node) => node.tag === "checkbox-group");
    const rows = [...wxml.walk(group)].filter((node) => node.tag === "label");
    const chosen = rows.filter((row) => labels.some((label) => wxml.textOf(row).includes(label)));
    assert.equal(chosen.length, labels.length, `not all of ${labels} are in: ${wxml.textOf(group)}`);
    const value = chosen.map((row) => [...wxml.walk(row)].find((node) => node.tag === "checkbox").attributes.value);
    this.page[group.attributes.bindchange]({ detail: { value } });
  }

  // Resolves with what the client's call of that name was given, when it is called.
  async opens(call) {
    const opened = await until(`${call} is called`, () => this.opened, () => `The page says: ${this.text}`);
    assert.equal(opened.call, call);
    return opened.params;
  }

  // The open call ends as WeChat ends it.
  succeeds() {
    this._end("success", { errMsg: `${this.opened.call}:ok` });
  }

  fails(errMsg) {
    this._end("fail", { errMsg: `${this.opened.call}:fail ${errMsg}` });
  }

  // To another mini program, or out of WeChat.
  goesAway() {
    this.app.onHide?.();
    this.page.onHide();
  }

  // extraData: what WeChat Pay's mini program says; none: the user came back by hand.
  comesBack(extraData, { scene = 1038, appId = SIGNING_APPID } = {}) {
    this.opened = null;
    this.app.onShow?.({ scene, referrerInfo: { appId, extraData } });
    this.page.onShow();
  }

  leavesPage() {
    this.stack.pop().onUnload();
  }

  asked(method, start) {
    return this.requests.filter((one) => one.method === method && one.path.startsWith(start)).length;
  }

  // So many more requests of that kind have been answered.
  async asks(method, start, times = 2) {
    const enough = this.asked(method, start) + times;
    await until(`${times} × ${method} ${start}`, () => this.asked(method, start) >= enough, () => this.text);
  }

  // No error was thrown or logged that nobody looked at.
  end() {
    while (this.stack.length) this.leavesPage();
    assert.deepEqual(this.errors, []);
  }

  // Inside

  require(name) {
    return this._load(path.join(ROOT, name));
  }

  _load(file) {
    if (!this._modules[file]) {
      const module = { exports: {} };
      this._modules[file] = module;
      const parameters = ["require", "module", "exports"];
      const options = { filename: file, parsingContext: this._context };
      const run = vm.compileFunction(fs.readFileSync(file, "utf8"), parameters, options);
      const require = (name) => {
        if (name === PACKAGE && this.has.individualContracts !== false) return { default: this._individualContracts() };
        if (!name.startsWith(".")) throw new Error(`module '${name}' is not defined`);
        return this._load(path.resolve(path.dirname(file), name.endsWith(".js") ? name : `${name}.js`));
      };
      run(require, module, module.exports);
    }
    return this._modules[file].exports;
  }

  _globals() {
    const console = { log() {}, warn() {}, error: (...words) => this.errors.push(words.map((one) => one?.stack ?? String(one)).join(" ")) };
    return {
      App: (app) => (this.app = app),
      Page: (page) => (this._registered = page),
      getApp: () => this.app,
      getCurrentPages: () => [...this.stack],
      wx: this.wx,
      console,
      setTimeout,
      clearTimeout,
    };
  }

  _wx() {
    const wx = {
      getAppBaseInfo: () => ({ language: this.language }),
      getSystemInfoSync: () => ({ language: this.language }),
      setNavigationBarTitle: ({ title }) => {
        assert.equal(typeof title, "string");
        this.title = title;
      },
      showModal: ({ success }) => later(() => success({ confirm: this.isSure, cancel: !this.isSure })),
      login: ({ success }) => {
        this.logins += 1;
        later(() => success({ errMsg: "login:ok", code: `demo:${this.name}` }));
      },
      request: (given) => void this._request(given),
      navigateToMiniProgram: (given) => {
        const listed = appJson().navigateToMiniProgramAppIdList;
        if (!listed.includes(given.appId)) return later(() => given.fail({ errMsg: "navigateToMiniProgram:fail appId is not listed" }));
        assert.match(given.path, /^pages\//);
        this._open("navigateToMiniProgram", given);
      },
      openBusinessView: (given) => {
        assert.equal(given.businessType, "wxpayScorePlan");
        assert.deepEqual(Object.keys(given.extraData), ["package"]);
        this._open("openBusinessView", given);
      },
      requestPayment: (given) => {
        for (const name of ["timeStamp", "nonceStr", "package", "signType", "paySign"]) assert.equal(typeof given[name], "string", name);
        this._open("requestPayment", given);
      },
    };
    for (const [name, isThere] of Object.entries(this.has)) if (!isThere) delete wx[name];
    return wx;
  }

  _individualContracts() {
    return { requestSign: (given) => this._open("requestSign", given) };
  }

  _open(call, { success, fail, complete, ...params }) {
    assert.equal(this.opened, null, `${call} while ${this.opened?.call} is open`);
    this.opened = { call, params: JSON.parse(JSON.stringify(params)), success, fail, complete };
  }

  _end(how, answer) {
    const { success, fail, complete } = this.opened;
    this.opened = null;
    ({ success, fail })[how]?.(answer);
    complete?.(answer);
  }

  async _request({ url, method = "GET", data, header = {}, success, fail }) {
    assert.ok(!Object.keys(header).some((name) => name.toLowerCase() === "referer"), "WeChat forbids this header");
    const asked = { method, path: url.slice(this.shop.length), data, status: 0 };
    let told;
    try {
      if (this.isOffline) throw new Error("offline");
      const headers = { ...header, ...(this.spoiled-- > 0 && header.Authorization ? { Authorization: "Bearer stale" } : {}) };
      const body = data === undefined || method === "GET" ? undefined : JSON.stringify(data);
      const answer = await send(url, { method, headers, body });
      asked.status = answer.status;
      asked.answer = parsed(answer.text);
      told = () => success({ statusCode: answer.status, data: asked.answer, header: answer.headers });
    } catch (error) {
      told = () => fail({ errMsg: `request:fail ${error.message}` });
    }
    this.requests.push(asked);
    told();
  }
}

let people = 0;

// The phone of a customer whom nobody else is, for one test.
function someone(t, options = {}) {
  people += 1;
  const phone = new Phone({ name: `Customer ${process.pid}-${people}`, ...options });
  t.after(() => phone.end());
  return phone;
}

// As WeChat does with dataType "json": what is no JSON stays a text.
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function eventOf(node) {
  const data = Object.entries(node.attributes).filter(([name]) => name.startsWith("data-"));
  return { type: "tap", currentTarget: { dataset: Object.fromEntries(data.map(([name, value]) => [name.slice(5), value])) } };
}

module.exports = { Phone, ROOT, appJson, eventOf, someone, until };
