// The client's own calls, as promises that never reject: what they say is a hint, and the server is asked in any case.

// Resolves with {said, words}; said is "cancelled", "failed", or on success what that is worth: "ok" or "unsure".
function open(call, params, worth) {
  return new Promise((resolve) => {
    const fail = (error) => {
      const words = String((error && (error.errMsg || error.message || error.code)) || error);
      resolve({ said: /cancel/i.test(words) ? "cancelled" : "failed", words });
    };
    try {
      call(Object.assign({}, params, { success: () => resolve({ said: worth, words: "" }), fail }));
    } catch (error) {
      fail(error); // a client that is too old does not have the call
    }
  });
}

// Asks the customer; resolves with whether he is sure.
function isSure(content) {
  return new Promise((resolve) => {
    wx.showModal({ content, success: (answer) => resolve(answer.confirm), fail: () => resolve(false) });
  });
}

module.exports = {
  isSure,
  // That the first two succeed only means that WeChat Pay was opened.
  navigateToMiniProgram: (params) => open((given) => wx.navigateToMiniProgram(given), params, "unsure"),
  openBusinessView: (params) => open((given) => wx.openBusinessView(given), params, "unsure"),
  requestPayment: (params) => open((given) => wx.requestPayment(given), params, "ok"),
  requestSign: (params) => open((given) => require("./individual-contracts")().requestSign(given), params, "ok"),
};
