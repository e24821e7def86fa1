// WeChat Pay's own mini program, in which customers sign auto-debit contracts.
const SIGNING_APPID = "wxbd687630cd02ce1d";
const FROM_ANOTHER_MINI_PROGRAM = 1038;

App({
  // What that one said when the customer came back: {said: {return_code, return_msg, contract_id}}, or {said: undefined}
  // when he came back by hand. It proves nothing: pages ask the server, this only says how long it is worth asking.
  cameBack: null,

  onShow(options) {
    const from = options.referrerInfo || {};
    if (options.scene === FROM_ANOTHER_MINI_PROGRAM && from.appId === SIGNING_APPID) {
      this.cameBack = { said: from.extraData };
    }
  },
});
