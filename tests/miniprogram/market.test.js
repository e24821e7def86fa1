"use strict";

const assert = require("node:assert/strict");
const { before, test } = require("node:test");
const { Phone, eventOf, someone, until } = require("./standin/phone");
const { control, refuse, state } = require("./standin/sandbox");

const SELL = "/pages/market/market?part=sell";
const MARKET = "/pages/market/market?part=buy";
const PAYMENTS = "/wxpay/combine-orders/";
const SELLERS = [`Gao Lin ${process.pid}`, `Sun Wei ${process.pid}`];
const AUTHORIZE = "Let buyers pay me";
const BUY = "Buy with WeChat Pay";
const PAY_ON = "Continue in WeChat Pay";

async function visitor(t, page, options) {
  const phone = someone(t, options);
  await phone.open(page);
  return phone;
}

async function authorizes(phone) {
  const tapped = phone.tap(AUTHORIZE);
  const params = await phone.opens("requestSign");
  await control("request-sign", { ...params, agree: true });
  phone.succeeds();
  await tapped;
  await phone.sees("You may be paid.");
}

// Chooses what these sellers sell and buys. Resolves with {tapped, params}, when the client asks to pay.
async function goesToPay(phone, ...sellers) {
  phone.choose(...sellers);
  const tapped = phone.tap(BUY);
  return { tapped, params: await phone.opens("requestPayment") };
}

const pays = (params) => control("request-payment", { ...params, do: "pay" });

before(async () => {
  for (const name of SELLERS) {
    const phone = new Phone({ name });
    await phone.open(SELL);
    await authorizes(phone);
    phone.end();
  }
});

// Who sells

test("a seller authorises, and his things are for sale", async (t) => {
  const phone = await visitor(t, SELL);
  await authorizes(phone);
  await phone.sees("Authorised. Buyers can pay you now.");
  assert.equal(phone.button(AUTHORIZE), null);
  const buyer = await visitor(t, MARKET);
  await buyer.sees(phone.name);
});

test("a seller who cancels is not authorised, and may be later", async (t) => {
  const phone = await visitor(t, SELL);
  const tapped = phone.tap(AUTHORIZE);
  await phone.opens("requestSign");
  phone.fails("cancel");
  await tapped;
  await phone.sees("Cancelled.");
  await authorizes(phone);
});

test("that the client says he is authorised is not believed", async (t) => {
  const phone = await visitor(t, SELL);
  const tapped = phone.tap(AUTHORIZE);
  const params = await phone.opens("requestSign");
  phone.succeeds();
  await phone.asks("GET", "/wxpay/payees/", 3);
  await phone.sees("Asking WeChat Pay …");
  await control("request-sign", { ...params, agree: true });
  await tapped;
  await phone.sees("Authorised. Buyers can pay you now.");
});

test("a mini program without WeChat Pay's package says so", async (t) => {
  const phone = await visitor(t, SELL, { has: { individualContracts: false } });
  await phone.tap(AUTHORIZE);
  await phone.sees("WeChat says:", "wechatpay-miniprogram-individual-contracts");
  assert.ok(phone.button(AUTHORIZE));
});

test("a seller taps twice and signs once; without WeChat Pay's answer the page waits for one", async (t) => {
  const phone = await visitor(t, SELL);
  await control("faults", { kind: "error_500", path: "/v3/ecommerce/individual-contracts/", method: "GET" });
  const button = phone.button(AUTHORIZE);
  const taps = [phone.page.authorize(eventOf(button)), phone.page.authorize(eventOf(button))];
  assert.equal(phone.button(AUTHORIZE).attributes.disabled, true);
  await phone.opens("requestSign");
  phone.fails("cancel");
  await Promise.all(taps);
  assert.equal(phone.asked("POST", "/wxpay/payees/"), 1);
});

test("a customer is told that the shop does not answer", async (t) => {
  const phone = await visitor(t, SELL);
  phone.isOffline = true;
  await phone.tap(AUTHORIZE);
  await phone.sees("The shop does not answer");
  assert.ok(!phone.button(AUTHORIZE).attributes.disabled);
});

// Who buys

test("a buyer pays two sellers at once", async (t) => {
  const phone = await visitor(t, MARKET);
  assert.equal(phone.button(BUY).attributes.disabled, true);
  const { tapped, params } = await goesToPay(phone, ...SELLERS);
  const paid = await pays(params);
  phone.succeeds();
  await tapped;
  await phone.sees("Paid. Thank you!");
  const [payment] = phone.data.payments;
  assert.equal(payment.number, paid.combine_out_trade_no);
  assert.equal(payment.parts.length, 2);
  assert.equal(phone.button(BUY).attributes.disabled, true); // nothing is chosen any more
  assert.equal(phone.button(PAY_ON), null);
});

test("that the client says it is paid is not believed", async (t) => {
  const phone = await visitor(t, MARKET);
  const { tapped, params } = await goesToPay(phone, SELLERS[0]);
  phone.succeeds();
  await phone.asks("GET", PAYMENTS, 3);
  await phone.sees("Asking WeChat Pay …", "To be paid");
  await pays(params);
  await tapped;
  await phone.sees("Paid. Thank you!");
});

test("a buyer who cancels pays the same payment later", async (t) => {
  const phone = await visitor(t, MARKET);
  const first = await goesToPay(phone, SELLERS[1]);
  phone.fails("cancel");
  await first.tapped;
  await phone.sees("Not paid. The payment waits for you below.", "To be paid");
  const tapped = phone.tap(PAY_ON);
  const params = await phone.opens("requestPayment");
  assert.notEqual(params.paySign, first.params.paySign); // signed anew
  await pays(params);
  phone.succeeds();
  await tapped;
  await phone.sees("Paid. Thank you!");
  assert.equal(phone.data.payments.length, 1);
});

test("a buyer gives up, and then cannot pay", async (t) => {
  const phone = await visitor(t, MARKET);
  const { tapped, params } = await goesToPay(phone, SELLERS[1]);
  phone.fails("cancel");
  await tapped;
  await phone.tap("Give up");
  await phone.sees("Closed. Nothing was paid.");
  assert.equal(phone.button(PAY_ON), null);
  await assert.rejects(pays(params));
});

test("a buyer whose money does not come through is told that it failed", async (t) => {
  const phone = await visitor(t, MARKET);
  const { tapped, params } = await goesToPay(phone, SELLERS[0]);
  await control("request-payment", { ...params, do: "fail" });
  phone.fails("(the bank refused)");
  await tapped;
  assert.match(phone.text, /Failed, being closed|Closed|WeChat says: requestPayment:fail \(the bank refused\)/);
  assert.ok(!phone.text.includes("Paid."));
});

test("a lost answer and a second tap are one payment", async (t) => {
  const phone = await visitor(t, MARKET);
  phone.choose(SELLERS[0]);
  const real = phone.page.basket;
  phone.isOffline = true;
  await phone.tap(BUY);
  await phone.sees("The shop does not answer");
  phone.isOffline = false;
  const button = phone.button(BUY);
  const taps = [phone.page.buy(eventOf(button)), phone.page.buy(eventOf(button))];
  await phone.opens("requestPayment");
  phone.fails("cancel");
  await Promise.all(taps);
  assert.equal(phone.page.basket, real);
  const tapped = phone.tap(BUY);
  await phone.opens("requestPayment");
  phone.fails("cancel");
  await tapped;
  assert.equal(phone.data.payments.length, 1);
});

test("what WeChat Pay refuses is shown as it was said", async (t) => {
  const phone = await visitor(t, MARKET);
  await refuse("/v3/combine-transactions/miniprogram", "the payer has reached a limit");
  phone.choose(SELLERS[0]);
  await phone.tap(BUY);
  await phone.sees("the payer has reached a limit");
  assert.equal(phone.opened, null);
});

test("what a seller sold before he withdrew cannot be bought", async (t) => {
  const seller = await visitor(t, SELL);
  await authorizes(seller);
  const buyer = await visitor(t, MARKET);
  buyer.choose(seller.name);
  const openid = seller.requests.find((one) => one.answer?.sign).answer.sign.package.match(/openid=([^&]+)/)[1];
  await control(`payees/${openid}/withdraw`);
  await buyer.tap(BUY);
  assert.equal(buyer.opened, null);
  assert.ok(buyer.data.problem, buyer.text);
});

test("a payment that was made while the mini program was closed is found when the page opens", async (t) => {
  const phone = await visitor(t, MARKET);
  const { params } = await goesToPay(phone, SELLERS[0]);
  phone.leavesPage(); // WeChat ended it
  const { combine_out_trade_no } = await pays(params);
  await until("the payment is found", async () => {
    await phone.open(MARKET);
    return phone.data.payments[0].isPaid;
  });
  assert.equal(phone.data.payments[0].number, combine_out_trade_no);
  const { orders } = await state();
  assert.ok(orders.length > 0);
});
