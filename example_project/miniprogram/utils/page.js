// What all pages do: one thing at a time, and never believe the client.
//
// A page has `title` (the name of a text), `refresh()`, which loads what it shows, and handlers that call `run`.
const config = require("./config");
const request = require("./request");
const texts = require("./texts");

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

const common = {
  onLoad(query) {
    this.query = query || {};
    this.shownAt = Date.now();
    wx.setNavigationBarTitle({ title: texts.words()[this.title] });
    return this.reload();
  },

  onShow() {
    if (this.isHidden && this.cameBack) this.cameBack();
    this.isHidden = false;
    this.shownAt = Date.now();
    if (this.wakeUp) this.wakeUp();
  },

  onHide() {
    this.isHidden = true;
  },

  onUnload() {
    this.isGone = true;
    if (this.wakeUp) this.wakeUp();
  },

  reload() {
    return this.run(async () => {
      this.show({ isLoading: true });
      try {
        await this.refresh();
      } finally {
        this.show({ isLoading: false });
      }
    });
  },

  // One thing at a time: a second tap does nothing, and the buttons are disabled. What the server refuses is shown.
  async run(deed) {
    if (this.data.isBusy) return;
    this.show({ isBusy: true, problem: "", notice: "" });
    try {
      await deed();
    } catch (failure) {
      if (!(failure instanceof request.Failure)) console.error(failure);
      this.show({ problem: failure.message, notice: "" });
    } finally {
      this.show({ isBusy: false });
    }
  },

  // kind: good, bad or busy.
  tell(kind, notice) {
    this.show({ notice, noticeKind: kind });
  },

  // What to say when it is not as the customer wanted, after all.
  tellWhyNot(outcome) {
    const words = texts.words();
    if (!outcome) this.tell("busy", words.still_opening);
    else if (outcome.said === "cancelled") this.tell("bad", words.cancelled);
    else if (outcome.said === "failed") this.tell("bad", `${words.wechat_says} ${outcome.words}`);
    else this.tell("busy", words.not_confirmed);
  },

  // From the server's row to WeChat Pay and back. Resolves with {row, outcome}: the row as the server says it in the
  // end, and what the client said meanwhile, null when there was nothing to open.
  //   row       what the server answered
  //   ask       asks the server for it
  //   isKnown   (row) whether there is nothing more to wait for
  //   isReady   (row) whether WeChat Pay can be opened for it
  //   paramsOf  (row) what the client's call takes
  //   open      the client's call
  async throughWeChat({ row, ask, isKnown, isReady, paramsOf, open }) {
    if (!isKnown(row) && !isReady(row)) {
      const isDecided = (one) => isKnown(one) || isReady(one);
      row = await this.confirm(ask, isDecided, () => config.askForMs);
    }
    const params = !isKnown(row) && isReady(row) ? await paramsOf(row) : null;
    if (!params) return { row, outcome: null };
    const app = getApp();
    app.cameBack = null;
    const opened = await Promise.race([open(params), this.comesBack()]);
    const outcome = () => (app.cameBack && opened.said === "unsure" ? sayingOf(app.cameBack.said) : opened);
    row = await this.confirm(ask, isKnown, () => patienceOf(outcome()));
    return { row, outcome: outcome() };
  },

  // Asks the server until it knows, for as long as that is worth it; not while the customer is still in WeChat Pay.
  async confirm(ask, isKnown, patienceMs) {
    this.tell("busy", texts.words().asking);
    const begun = Date.now();
    for (;;) {
      await this.visible();
      const { row, failure } = await answerOf(ask);
      const isOver = !this.isHidden && Date.now() - Math.max(begun, this.shownAt) >= patienceMs();
      if ((row && isKnown(row)) || isOver || this.isGone) {
        if (failure) throw failure;
        this.show({ notice: "" });
        return row;
      }
      await sleep(Math.max(config.askEveryMs, failure ? failure.retryAfterMs : 0));
    }
  },

  // Resolves when the page can be seen, or is gone for good.
  async visible() {
    while (this.isHidden && !this.isGone) {
      await new Promise((resolve) => {
        this.wakeUp = resolve;
      });
    }
  },

  // Resolves when the customer was away and came back, should the client's call not say so itself.
  comesBack() {
    return new Promise((resolve) => {
      this.cameBack = async () => {
        await sleep(config.lateMs);
        resolve({ said: "unsure", words: "" });
      };
    });
  },

  show(data) {
    if (!this.isGone) this.setData(data);
  },
};

// How long it is worth asking, by what the client said.
function patienceOf({ said }) {
  return { ok: config.askForMs, unsure: config.doubtMs }[said] || config.cancelledMs;
}

// What WeChat Pay's mini program said when the customer came back from it.
function sayingOf(said) {
  if (!said || !said.return_code) return { said: "unsure", words: "" };
  if (said.return_code === "SUCCESS") return { said: "ok", words: "" };
  return { said: "failed", words: String(said.return_msg || said.return_code) };
}

async function answerOf(ask) {
  try {
    return { row: await ask(), failure: null };
  } catch (failure) {
    if (!failure.mayPass) throw failure;
    return { row: null, failure };
  }
}

module.exports = function page(own) {
  const data = { t: texts.words(), isLoading: true, isBusy: false, problem: "", notice: "", noticeKind: "" };
  Page(Object.assign({}, common, own, { data: Object.assign(data, own.data) }));
};
