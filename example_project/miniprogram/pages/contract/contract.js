// A membership by auto-debit: the customer signs a contract in WeChat Pay's own mini program.
const config = require("../../utils/config");
const money = require("../../utils/money");
const page = require("../../utils/page");
const { get, post } = require("../../utils/request");
const rows = require("../../utils/rows");
const texts = require("../../utils/texts");
const weixin = require("../../utils/weixin");

const ADDRESS = "/wxpay/contracts/";
const words = texts.words();
const isSigned = (contract) => contract.state === "SIGNED";
const isKnown = (contract) => contract.state !== "PENDING";

page({
  title: "contract_title",

  data: { plans: [] },

  async refresh() {
    const [offers, contracts] = await Promise.all([get("/mini/offers/"), get(ADDRESS)]);
    this.offers = offers.plans;
    this.contracts = contracts.results; // newest first, as last heard of
    this.draw();
    // Perhaps one was signed while this mini program was closed.
    for (const plan of this.data.plans) if (plan.isWaiting) await this.ask(plan.code);
  },

  sign({ currentTarget }) {
    return this.run(async () => {
      const made = this.keep(await post(ADDRESS, { offer: currentTarget.dataset.key }));
      const { row, outcome } = await this.throughWeChat({
        row: made,
        ask: () => this.ask(made.out_contract_code),
        isKnown,
        isReady: (contract) => contract.launch !== null,
        paramsOf: (contract) => contract.launch,
        open: weixin.navigateToMiniProgram,
      });
      this.tellSigned(row, outcome);
    });
  },

  askAgain({ currentTarget }) {
    return this.run(async () => {
      const row = await this.confirm(() => this.ask(currentTarget.dataset.code), isKnown, () => config.cancelledMs);
      this.tellSigned(row, { said: "unsure" });
    });
  },

  terminate({ currentTarget }) {
    return this.run(async () => {
      if (!(await weixin.isSure(words.contract_terminate_sure))) return;
      const { code } = currentTarget.dataset;
      const asked = this.keep(await post(`${ADDRESS}${code}/terminate/`));
      const row = isSigned(asked)
        ? await this.confirm(() => this.ask(code), (contract) => !isSigned(contract), () => config.askForMs)
        : asked;
      if (isSigned(row)) this.tell("busy", words.contract_ending);
      else this.tell("good", words.contract_terminated);
    });
  },

  // Asks the server, which asks WeChat Pay.
  async ask(code) {
    return this.keep(await get(`${ADDRESS}${code}/`));
  },

  tellSigned(contract, outcome) {
    if (isSigned(contract)) this.tell("good", words.contract_done);
    else if (isKnown(contract)) this.tell("bad", words[`contract_${contract.state}`]);
    else this.tellWhyNot(outcome);
  },

  keep(contract) {
    this.contracts = rows.put(this.contracts, contract, "out_contract_code");
    this.draw();
    return contract;
  },

  draw() {
    const plans = this.offers.map((plan) => {
      const own = this.contracts.filter((contract) => contract.plan_id === plan.plan_id);
      const shown = own.find(isSigned) || own.find((contract) => !isKnown(contract)) || own[0];
      return {
        key: plan.key,
        name: plan.name,
        promises: plan.promises,
        price: money.inWords(plan.amount, plan.currency, texts.language()),
        code: shown ? shown.out_contract_code : "",
        state: shown ? words[`contract_${shown.state}`] : "",
        isSigned: Boolean(shown) && isSigned(shown),
        isWaiting: Boolean(shown) && !isKnown(shown),
      };
    });
    this.show({ plans });
  },
});
