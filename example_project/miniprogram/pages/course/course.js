// A course of lessons, a PayScore plan: signed once in WeChat Pay, each lesson is paid after it was held.
const config = require("../../utils/config");
const money = require("../../utils/money");
const page = require("../../utils/page");
const { get, post } = require("../../utils/request");
const rows = require("../../utils/rows");
const texts = require("../../utils/texts");
const weixin = require("../../utils/weixin");

const ADDRESS = "/wxpay/sign-plans/";
const words = texts.words();
const isSigned = (signPlan) => signPlan.state === "SIGNED";
const isKnown = (signPlan) => !["PLANNED", "UNSIGNED"].includes(signPlan.state);

page({
  title: "course_title",

  data: { course: null, hasSigned: false, signPlans: [] },

  async refresh() {
    const [offers, signPlans] = await Promise.all([get("/mini/offers/"), get(ADDRESS)]);
    this.offer = offers.course;
    this.currency = offers.mainland_currency;
    this.signPlans = signPlans.results;
    this.draw();
    // Perhaps one was signed, or a lesson was held, while this mini program was closed.
    const open = this.signPlans.filter((one) => one.state === "UNSIGNED" || isSigned(one));
    for (const one of open.slice(0, 3)) await this.ask(one.merchant_sign_plan_no);
  },

  sign() {
    return this.run(async () => {
      const made = this.keep(await post(ADDRESS, { offer: this.offer.key }));
      const { row, outcome } = await this.throughWeChat({
        row: made,
        ask: () => this.ask(made.merchant_sign_plan_no),
        isKnown,
        isReady: (signPlan) => signPlan.launch !== null,
        paramsOf: (signPlan) => signPlan.launch,
        open: weixin.openBusinessView,
      });
      this.tellSigned(row, outcome);
    });
  },

  askAgain({ currentTarget }) {
    return this.run(async () => {
      const row = await this.confirm(() => this.ask(currentTarget.dataset.number), isKnown, () => config.cancelledMs);
      this.tellSigned(row, { said: "unsure" });
    });
  },

  cancel({ currentTarget }) {
    return this.run(async () => {
      if (!(await weixin.isSure(words.course_cancel_sure))) return;
      const { number } = currentTarget.dataset;
      const asked = this.keep(await post(`${ADDRESS}${number}/cancel/`, { reason: words.course_cancel_reason }));
      const row = isSigned(asked)
        ? await this.confirm(() => this.ask(number), (signPlan) => !isSigned(signPlan), () => config.askForMs)
        : asked;
      if (isSigned(row)) this.tell("busy", words.course_ending);
      else this.tell("good", words.course_cancelled);
    });
  },

  // Asks the server, which asks WeChat Pay.
  async ask(number) {
    return this.keep(await get(`${ADDRESS}${number}/`));
  },

  tellSigned(signPlan, outcome) {
    if (isSigned(signPlan)) this.tell("good", words.course_done);
    else if (isKnown(signPlan)) this.tell("bad", words[`course_${signPlan.state}`]);
    else this.tellWhyNot(outcome);
  },

  keep(signPlan) {
    this.signPlans = rows.put(this.signPlans, signPlan, "merchant_sign_plan_no");
    this.draw();
    return signPlan;
  },

  draw() {
    const amount = (fen) => money.inWords(fen, this.currency, texts.language());
    const lesson = (one) => ({ name: one.name, price: amount(one.actual_price) });
    const course = this.offer && { name: this.offer.name, lessons: this.offer.lessons.map(lesson) };
    const shown = this.signPlans.filter((one) => !["LAPSED", "REFUSED"].includes(one.state));
    const signPlans = shown.map((one) => ({
      number: one.merchant_sign_plan_no,
      state: words[`course_${one.state}`],
      isSigned: isSigned(one),
      isWaiting: !isKnown(one),
      lessons: one.details.map((detail) => ({
        number: detail.plan_detail_no,
        name: detail.plan_detail_name,
        price: amount(detail.actual_price),
        state: words[`lesson_${detail.state}`],
      })),
    }));
    this.show({ course, signPlans, hasSigned: this.signPlans.some(isSigned) });
  },
});
