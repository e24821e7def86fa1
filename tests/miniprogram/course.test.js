"use strict";

const assert = require("node:assert/strict");
const { test } = require("node:test");
const { eventOf, someone, until } = require("./standin/phone");
const { control, refuse, signPlanOf } = require("./standin/sandbox");

const PAGE = "/pages/course/course";
const SIGN_PLANS = "/wxpay/sign-plans/";
const SIGN_UP = "Sign up with WeChat Pay";
const numberOf = (phone) => phone.data.signPlans[0].number;

async function customer(t, options) {
  const phone = someone(t, options);
  await phone.open(PAGE);
  return phone;
}

// Tap, and look at WeChat Pay's page. Resolves with {tapped, number}: of the sign plan that the page is about.
async function goesToSign(phone) {
  const tapped = phone.tap(SIGN_UP);
  const { extraData } = await phone.opens("openBusinessView");
  return { tapped, number: await signPlanOf(extraData.package) };
}

test("a customer signs up and sees each lesson, then cancels what is left", async (t) => {
  const phone = await customer(t);
  await phone.sees("Tea course, three lessons", "Leaf and water", "CN¥120.00", "CN¥0.00");
  const { tapped, number } = await goesToSign(phone);
  phone.goesAway();
  await control(`sign-plans/${number}/confirm`);
  phone.succeeds();
  phone.comesBack(undefined);
  await tapped;
  await phone.sees("Signed. See you at the first lesson!", "Not yet held");
  assert.equal(phone.button(SIGN_UP), null);

  phone.isSure = false;
  await phone.tap("Cancel the course");
  assert.equal(phone.asked("POST", SIGN_PLANS), 1);
  phone.isSure = true;
  await phone.tap("Cancel the course");
  await phone.sees("Cancelled.");
  assert.ok(phone.button(SIGN_UP));
});

test("a client whose call never ends does not hold the page: the customer is back, so the server is asked", async (t) => {
  const phone = await customer(t);
  const { tapped, number } = await goesToSign(phone);
  phone.goesAway();
  await control(`sign-plans/${number}/confirm`);
  phone.comesBack(undefined, { scene: 1001 });
  await tapped;
  await phone.sees("Signed. See you at the first lesson!");
});

test("what the client says is not believed: the server is asked until it knows", async (t) => {
  const phone = await customer(t, { config: { doubtMs: 90_000 } });
  const { tapped, number } = await goesToSign(phone);
  phone.succeeds();
  await phone.asks("GET", SIGN_PLANS, 3);
  await phone.sees("Asking WeChat Pay …", "Waiting for your signature");
  await control(`sign-plans/${number}/confirm`);
  await tapped;
  await phone.sees("Signed. See you at the first lesson!");
});

test("nobody is asked while the customer is in WeChat Pay", async (t) => {
  const phone = await customer(t);
  const { tapped, number } = await goesToSign(phone);
  phone.succeeds(); // it was opened
  phone.goesAway();
  const asked = phone.asked("GET", SIGN_PLANS);
  await control(`sign-plans/${number}/confirm`);
  await new Promise((done) => setTimeout(done, 3 * phone.require("utils/config.js").askEveryMs));
  assert.equal(phone.asked("GET", SIGN_PLANS), asked);
  phone.comesBack(undefined);
  await tapped;
  await phone.sees("Signed. See you at the first lesson!");
});

test("a customer who cancels has not signed, and signs the same plan later", async (t) => {
  const phone = await customer(t);
  const { tapped } = await goesToSign(phone);
  phone.fails("cancel");
  await tapped;
  await phone.sees("Cancelled.", "Waiting for your signature");
  const number = numberOf(phone);
  const again = await goesToSign(phone);
  await control(`sign-plans/${again.number}/confirm`);
  phone.succeeds();
  await again.tapped;
  await phone.sees("Signed. See you at the first lesson!");
  assert.equal(numberOf(phone), number);
});

test("a customer who signs although the client says that he cancelled has signed", async (t) => {
  const phone = await customer(t, { config: { cancelledMs: 90_000 } });
  const { tapped, number } = await goesToSign(phone);
  await control(`sign-plans/${number}/confirm`);
  phone.fails("cancel");
  await tapped;
  await phone.sees("Signed. See you at the first lesson!");
});

test("a customer is told that it is not confirmed, and can ask again", async (t) => {
  const phone = await customer(t, { config: { doubtMs: 0 } });
  const { tapped, number } = await goesToSign(phone);
  phone.succeeds();
  await tapped;
  await phone.sees("WeChat Pay has not confirmed it yet");
  await control(`sign-plans/${number}/confirm`);
  await until("it is confirmed", async () => {
    await phone.tap("Ask WeChat Pay again");
    return phone.text.includes("Signed. See you at the first lesson!");
  });
});

test("a WeChat that is too old says so, and nothing is signed", async (t) => {
  const phone = await customer(t, { has: { openBusinessView: false } });
  await phone.tap(SIGN_UP);
  await phone.sees("WeChat says:", "openBusinessView", "Waiting for your signature");
});

test("a second tap does nothing, and the buttons are disabled meanwhile", async (t) => {
  const phone = await customer(t);
  const button = phone.button(SIGN_UP);
  const taps = [phone.page.sign(eventOf(button)), phone.page.sign(eventOf(button))];
  assert.equal(phone.button(SIGN_UP).attributes.disabled, true);
  await phone.opens("openBusinessView");
  phone.fails("cancel");
  await Promise.all(taps);
  assert.equal(phone.asked("POST", SIGN_PLANS), 1);
});

test("what WeChat Pay refuses is shown as it was said", async (t) => {
  const phone = await customer(t);
  await refuse("/v3/payscore/sign-plan/user-sign-plans", "this user has overdue orders");
  await phone.tap(SIGN_UP);
  await phone.sees("this user has overdue orders");
  assert.equal(phone.opened, null);
});
