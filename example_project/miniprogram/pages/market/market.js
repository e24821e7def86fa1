// A market where customers sell to customers: who sells is authorised as a payee, who buys pays all sellers at once.
const config = require("../../utils/config");
const money = require("../../utils/money");
const page = require("../../utils/page");
const { get, post } = require("../../utils/request");
const rows = require("../../utils/rows");
const texts = require("../../utils/texts");
const weixin = require("../../utils/weixin");

const PAYEES = "/wxpay/payees/";
const PAYMENTS = "/wxpay/combine-orders/";
const AT_MOST = 10; // things in one payment
const SHOWN = 5; // payments
const words = texts.words();

const isAuthorized = (payee) => payee.state === "AUTHORIZED";
const isPaid = (payment) => payment.state === "SUCCESS";
const isUnpaid = (payment) => payment.state === "NOTPAY";
const isOver = (payment) => ["SUCCESS", "CLOSED", "REFUSED"].includes(payment.state);

page({
  title: "market_title",

  data: { part: "buy", goods: [], tooMany: false, hasChosen: false, payments: [], isSeller: false },

  async refresh() {
    this.show({ part: this.query.part === "sell" ? "sell" : "buy" });
    const [offers, payments, payees] = await Promise.all([get("/mini/offers/"), get(PAYMENTS), get(PAYEES)]);
    this.currency = offers.mainland_currency;
    this.goods = offers.goods;
    this.payments = payments.results.slice(0, SHOWN);
    this.payee = payees.results[0] || null;
    this.choose([]);
    // Perhaps he signed or paid while this mini program was closed.
    if (this.payee && !isAuthorized(this.payee)) await this.askPayee(this.payee.payee_no);
    for (const payment of this.payments.filter((one) => !isOver(one))) {
      await this.askPayment(payment.combine_out_trade_no);
    }
  },

  // Who sells

  authorize() {
    return this.run(async () => {
      const asked = this.keepPayee(await post(PAYEES));
      const { row, outcome } = await this.throughWeChat({
        row: asked,
        ask: () => this.askPayee(asked.payee_no),
        isKnown: isAuthorized,
        isReady: (payee) => payee.sign !== null,
        paramsOf: (payee) => payee.sign,
        open: weixin.requestSign,
      });
      if (isAuthorized(row)) this.tell("good", words.market_seller_done);
      else this.tellWhyNot(outcome);
    });
  },

  // Asks the server, which asks WeChat Pay.
  async askPayee(number) {
    return this.keepPayee(await get(`${PAYEES}${number}/`));
  },

  keepPayee(payee) {
    this.payee = payee;
    this.draw();
    return payee;
  },

  // Who buys

  chooseThings({ detail }) {
    if (!this.data.isBusy) this.choose(detail.value);
  },

  choose(keys) {
    this.chosen = keys;
    // The name of this basket: sent again after a lost answer, it is the same payment.
    this.basket = Math.random().toString(36).slice(2, 10);
    this.draw();
  },

  buy() {
    return this.run(async () => {
      await this.pay(await post(PAYMENTS, { offer: `${this.basket}:${this.chosen.join(",")}` }));
    });
  },

  payOn({ currentTarget }) {
    return this.run(async () => {
      await this.pay(await post(`${PAYMENTS}${currentTarget.dataset.number}/payment/`));
    });
  },

  async pay(made) {
    this.keepPayment(made);
    const number = made.combine_out_trade_no;
    const { row, outcome } = await this.throughWeChat({
      row: made,
      ask: () => this.askPayment(number),
      isKnown: (payment) => isOver(payment) || payment.state === "PAYERROR",
      isReady: isUnpaid,
      // Signed for one use, and only on demand.
      paramsOf: async (payment) => payment.payment || (await post(`${PAYMENTS}${number}/payment/`)).payment,
      open: weixin.requestPayment,
    });
    if (isPaid(row)) {
      this.choose([]);
      this.tell("good", words.market_done);
    } else if (!isUnpaid(row)) this.tell("bad", words[`payment_${row.state}`]);
    else if (outcome && outcome.said === "cancelled") this.tell("bad", words.market_not_paid);
    else this.tellWhyNot(outcome);
  },

  askAgain({ currentTarget }) {
    return this.run(async () => {
      const ask = () => this.askPayment(currentTarget.dataset.number);
      const row = await this.confirm(ask, isOver, () => config.cancelledMs);
      if (isPaid(row)) this.tell("good", words.market_done);
      else this.tell("bad", isUnpaid(row) ? words.market_not_paid : words[`payment_${row.state}`]);
    });
  },

  close({ currentTarget }) {
    return this.run(async () => {
      if (!(await weixin.isSure(words.market_close_sure))) return;
      const { number } = currentTarget.dataset;
      const asked = this.keepPayment(await post(`${PAYMENTS}${number}/close/`));
      const row = isOver(asked)
        ? asked
        : await this.confirm(() => this.askPayment(number), isOver, () => config.askForMs);
      if (isPaid(row)) this.tell("good", words.market_done); // he paid in that very moment
      else if (isOver(row)) this.tell("good", words.market_closed);
      else this.tell("busy", words.market_closing);
    });
  },

  // Asks the server, which asks WeChat Pay.
  async askPayment(number) {
    return this.keepPayment(await get(`${PAYMENTS}${number}/`));
  },

  keepPayment(payment) {
    this.payments = rows.put(this.payments, payment, "combine_out_trade_no").slice(0, SHOWN);
    this.draw();
    return payment;
  },

  draw() {
    const amount = (fen) => money.inWords(fen, this.currency, texts.language());
    this.show({
      isSeller: this.payee !== null && isAuthorized(this.payee),
      hasChosen: this.chosen.length > 0,
      tooMany: this.chosen.length > AT_MOST,
      goods: this.goods.map((thing) => ({
        key: thing.key,
        title: thing.title,
        seller: thing.seller,
        price: amount(thing.price),
        isChosen: this.chosen.includes(thing.key),
      })),
      payments: this.payments.map((payment) => ({
        number: payment.combine_out_trade_no,
        amount: amount(payment.amount_total),
        state: words[`payment_${payment.state}`],
        isPaid: isPaid(payment),
        isUnpaid: isUnpaid(payment),
        isOver: isOver(payment),
        parts: payment.orders.map((part) => ({
          number: part.out_trade_no,
          description: part.description,
          amount: amount(part.amount_total),
        })),
      })),
    });
  },
});
