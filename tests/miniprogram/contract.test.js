"use strict";

const assert = require("node:assert/strict");
const { test } = require("node:test");
const { eventOf, someone, until } = require("./standin/phone");
const { control, refuse, state } = require("./standin/sandbox");

const PAGE = "/pages/contract/contract";
const PRE_SIGN = "/v3/global/papay/contracts/miniprogram-pre-entrust-sign";
const HKD = "HK$38.00";
const sessionOf = ({ path }) => path.split("sessionId=")[1];

async function customer(t) {
  const phone = someone(t);
  await phone.open(PAGE);
  return phone;
}

// Tap, and go over to WeChat Pay's mini program.
async function goesToSign(phone) {
  const tapped = phone.tap("Sign with WeChat Pay", HKD);
  const session = sessionOf(await phone.opens("navigateToMiniProgram"));
  phone.succeeds();
  phone.goesAway();
  return { tapped, session };
}

test("a customer signs, comes back and is a member", async (t) => {
  const phone = await customer(t);
  assert.equal(phone.title, "Membership");
  await phone.sees(HKD, "HK$128.00", "CN¥35.00", "One tin of tea a month");
  const { tapped, session } = await goesToSign(phone);
  const { contract_id } = await control(`contracts/${session}/sign`);
  phone.comesBack({ return_code: "SUCCESS", contract_id });
  await tapped;
  await phone.sees("Signed. Welcome!");
  assert.equal(phone.button("Sign with WeChat Pay", HKD), null);
});

test("a member terminates, and not before the first month is paid", async (t) => {
  const phone = await customer(t);
  const { tapped, session } = await goesToSign(phone);
  const { contract_id } = await control(`contracts/${session}/sign`);
  phone.comesBack({ return_code: "SUCCESS", contract_id });
  await tapped;
  phone.isSure = false;
  await phone.tap("Terminate", HKD);
  assert.equal(phone.asked("POST", "/wxpay/contracts/"), 1);
  phone.isSure = true;
  await until("the first month is paid", async () => {
    const { orders } = await state();
    return orders.some((order) => order.contract_id === contract_id && order.trade_state === "SUCCESS");
  });
  await until("the contract has ended", async () => {
    await phone.tap("Terminate", HKD); // refused, in the server's words, while the shop has not heard of the payment
    return phone.text.includes("Terminated. Thank you");
  });
  assert.ok(phone.button("Sign with WeChat Pay", HKD));
});

test("what the client says is not believed: the server is asked until it knows", async (t) => {
  const phone = await customer(t);
  const { tapped, session } = await goesToSign(phone);
  phone.comesBack({ return_code: "SUCCESS", contract_id: "made up" });
  await phone.asks("GET", "/wxpay/contracts/", 3);
  await phone.sees("Asking WeChat Pay …", "Waiting for your signature");
  await control(`contracts/${session}/sign`);
  await tapped;
  await phone.sees("Signed. Welcome!");
});

test("a customer who refuses is told what WeChat Pay said", async (t) => {
  const phone = await customer(t);
  const { tapped, session } = await goesToSign(phone);
  await control(`contracts/${session}/refuse`);
  phone.comesBack({ return_code: "FAIL", return_msg: "the user refused" });
  await tapped;
  await phone.sees("WeChat says: the user refused", "Waiting for your signature");
});

test("a customer who does not want to leave the mini program has cancelled, and may sign later", async (t) => {
  const phone = await customer(t);
  const tapped = phone.tap("Sign with WeChat Pay", HKD);
  const first = sessionOf(await phone.opens("navigateToMiniProgram"));
  phone.fails("cancel");
  await tapped;
  await phone.sees("Cancelled.", "Waiting for your signature");
  const again = await goesToSign(phone);
  assert.equal(again.session, first);
  await control(`contracts/${first}/sign`);
  phone.comesBack(undefined);
  await again.tapped;
  await phone.sees("Signed. Welcome!");
});

test("a customer who comes back by hand is told that it is not confirmed, and can ask again", async (t) => {
  const phone = await customer(t);
  const { tapped, session } = await goesToSign(phone);
  phone.comesBack(undefined, { scene: 1001 });
  await tapped;
  await phone.sees("WeChat Pay has not confirmed it yet");
  await control(`contracts/${session}/sign`);
  phone.require("utils/config.js").cancelledMs = 90_000;
  await phone.tap("Ask WeChat Pay again", HKD);
  await phone.sees("Signed. Welcome!");
});

test("a signature that was made while the mini program was closed is found when the page opens", async (t) => {
  const phone = await customer(t);
  const { session } = await goesToSign(phone);
  phone.leavesPage(); // WeChat ended it
  await control(`contracts/${session}/sign`);
  await until("the signature is found", async () => {
    await phone.open(PAGE);
    return !phone.button("Sign with WeChat Pay", HKD);
  });
  await phone.sees("Signed");
});

test("a second tap does nothing, and the buttons are disabled meanwhile", async (t) => {
  const phone = await customer(t);
  const button = phone.button("Sign with WeChat Pay", HKD);
  const taps = [phone.page.sign(eventOf(button)), phone.page.sign(eventOf(button))];
  assert.equal(phone.button("Sign with WeChat Pay", HKD).attributes.disabled, true);
  await phone.opens("navigateToMiniProgram");
  phone.fails("cancel");
  await Promise.all(taps);
  assert.equal(phone.asked("POST", "/wxpay/contracts/"), 1);
  assert.equal(phone.button("Sign with WeChat Pay", HKD).attributes.disabled, false);
});

test("what WeChat Pay refuses is shown as it was said", async (t) => {
  const phone = await customer(t);
  await refuse(PRE_SIGN, "too many contracts today");
  await phone.tap("Sign with WeChat Pay", HKD);
  await phone.sees("too many contracts today");
  assert.equal(phone.opened, null);
});

test("while WeChat Pay is out of reach the page waits, then goes on", async (t) => {
  const phone = await customer(t);
  await control("faults", { kind: "error_500", path: PRE_SIGN, method: "POST" });
  const tapped = phone.tap("Sign with WeChat Pay", HKD);
  await phone.opens("navigateToMiniProgram");
  assert.ok(phone.requests.some((one) => one.status === 202));
  phone.fails("cancel");
  await tapped;
});

test("a customer is told that the shop does not answer, and can try again", async (t) => {
  const phone = someone(t);
  phone.isOffline = true;
  await phone.open(PAGE);
  await phone.sees("The shop does not answer");
  phone.isOffline = false;
  await phone.tap("Try again");
  await phone.sees(HKD);
  assert.ok(!phone.text.includes("The shop does not answer"));
});

test("a Chinese customer reads Chinese, the server's refusals too", async (t) => {
  const phone = someone(t, { language: "zh_CN" });
  await phone.open(PAGE);
  await phone.sees("用微信支付签约", "每月一罐茶", "¥35.00");
  assert.equal(phone.title, "会员");
  phone.page.offers[0].key = "no-such-plan";
  phone.page.draw();
  await phone.tap("用微信支付签约", HKD);
  await phone.sees("没有");
});
