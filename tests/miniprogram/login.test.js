"use strict";

const assert = require("node:assert/strict");
const { test } = require("node:test");
const { someone } = require("./standin/phone");
const { send } = require("./standin/http");

const INDEX = "/pages/index/index";
const SHOP = process.env.SHOP_URL;

const post = (path, data, headers = {}) =>
  send(SHOP + path, {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "application/json", ...headers },
    body: JSON.stringify(data),
  });

test("a customer is greeted and finds four entries, whose pages open", async (t) => {
  const phone = someone(t);
  await phone.open(INDEX);
  await phone.sees(`Welcome, ${phone.name}`, "Membership", "Tea course", "Sell something", "Second-hand market");
  for (const { url, title } of phone.data.entries) {
    await phone.open(url);
    assert.equal(phone.title, title === "Sell something" ? "Second-hand market" : title);
    assert.equal(phone.data.problem, "");
    phone.leavesPage();
  }
  assert.equal(phone.logins, 1);
});

test("a customer who is not let in by WeChat is told, and can try again", async (t) => {
  const phone = someone(t);
  phone.wx.login = ({ fail }) => fail({ errMsg: "login:fail" });
  await phone.open(INDEX);
  await phone.sees("WeChat did not let you sign in");
  phone.wx.login = ({ success }) => success({ code: `demo:${phone.name}` });
  await phone.tap("Try again");
  await phone.sees(`Welcome, ${phone.name}`);
});

test("a token that is too old is replaced, and what was asked is done once", async (t) => {
  const phone = someone(t);
  await phone.open("/pages/contract/contract");
  phone.spoiled = 1;
  const tapped = phone.tap("Sign with WeChat Pay", "HK$38.00");
  await phone.opens("navigateToMiniProgram");
  phone.fails("cancel");
  await tapped;
  assert.equal(phone.logins, 2);
  const signings = phone.requests.filter((one) => one.method === "POST" && one.path === "/wxpay/contracts/");
  assert.deepEqual(signings.map((one) => one.status), [401, 201]);
});

test("a shop that takes no token at all is not asked for ever", async (t) => {
  const phone = someone(t);
  await phone.open("/pages/contract/contract");
  phone.spoiled = 1000;
  await phone.tap("Sign with WeChat Pay", "HK$38.00");
  await phone.sees("Please sign in again.");
  assert.equal(phone.asked("POST", "/wxpay/contracts/"), 2);
});

test("several requests at once log in once", async (t) => {
  const phone = someone(t);
  await phone.open("/pages/market/market");
  assert.equal(phone.logins, 1);
});

test("the shop sets no cookie, and takes no code that is none", async () => {
  const known = await post("/mini/login/", { code: "demo:Somebody" });
  assert.equal(known.status, 200);
  assert.equal(known.headers["set-cookie"], undefined);
  for (const code of [undefined, "", 7, "x".repeat(129)]) {
    const refused = await post("/mini/login/", { code });
    assert.equal(refused.status, 400, String(code));
    assert.equal(JSON.parse(refused.text).field, "code");
  }
  const guests = await Promise.all(["a", "b"].map((code) => post("/mini/login/", { code })));
  assert.deepEqual(guests.map(({ text }) => JSON.parse(text).name), ["Guest", "Guest"]);
});

test("without a token, or with somebody else's number, nothing is shown", async (t) => {
  const strange = await send(`${SHOP}/wxpay/contracts/`, { headers: { Authorization: "Bearer made-up" } });
  const none = await send(`${SHOP}/wxpay/contracts/`);
  assert.deepEqual([strange.status, none.status], [401, 401]);

  const one = someone(t);
  await one.open("/pages/contract/contract");
  const tapped = one.tap("Sign with WeChat Pay", "HK$38.00");
  await one.opens("navigateToMiniProgram");
  one.fails("cancel");
  await tapped;
  const { code } = one.data.plans.find((plan) => plan.code);
  const other = JSON.parse((await post("/mini/login/", { code: "demo:Somebody else" })).text);
  const asked = await send(`${SHOP}/wxpay/contracts/${code}/`, { headers: { Authorization: `Bearer ${other.token}` } });
  assert.equal(asked.status, 404);
});
