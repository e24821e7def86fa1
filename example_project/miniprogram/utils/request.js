// The shop's server: promises around wx.request, and a login that happens by itself.
//
// wx.request keeps no cookies. The server gives a token for the code of wx.login; it is kept in memory, sent as a header,
// and fetched anew when the server does not take it any more.
const config = require("./config");
const texts = require("./texts");

const PASSES = [0, 429, 503]; // no answer, too often, WeChat Pay is out of reach: the same may be asked again

class Failure extends Error {
  // message: for the customer, as the server said it. status: 0 without an answer.
  constructor(status, code, message, retryAfterMs) {
    super(message);
    this.status = status;
    this.code = code;
    this.retryAfterMs = retryAfterMs || 0;
    this.mayPass = PASSES.includes(status);
  }
}

let token = "";
let loggingIn = null;

function send(method, path, data, headers) {
  const words = texts.words();
  return new Promise((resolve, reject) => {
    wx.request({
      url: config.shopUrl + path,
      method,
      data,
      header: Object.assign(
        { Accept: "application/json", "Accept-Language": texts.language(), "Content-Type": "application/json" },
        headers,
      ),
      dataType: "json",
      timeout: config.timeoutMs,
      success: ({ statusCode, data: body, header }) => {
        if (statusCode >= 200 && statusCode < 300) return resolve(body);
        const said = body && typeof body === "object" ? body : {};
        const message = said.message || said.detail || `${words.server_error} (${statusCode})`;
        return reject(new Failure(statusCode, said.code || "", message, retryAfterMs(header)));
      },
      fail: () => reject(new Failure(0, "", words.no_answer)),
    });
  });
}

function retryAfterMs(header) {
  const name = Object.keys(header || {}).find((one) => one.toLowerCase() === "retry-after");
  return name ? Number(header[name]) * 1000 || 0 : 0;
}

function login() {
  if (!loggingIn) {
    loggingIn = new Promise((resolve, reject) => {
      wx.login({ success: resolve, fail: () => reject(new Failure(0, "", texts.words().no_login)) });
    })
      .then(({ code }) => send("POST", "/mini/login/", { code }))
      .then((answer) => {
        token = answer.token;
        return answer;
      })
      .finally(() => {
        loggingIn = null;
      });
  }
  return loggingIn;
}

async function call(method, path, data) {
  if (!token) await login();
  const used = token;
  try {
    return await send(method, path, data, { Authorization: `Bearer ${used}` });
  } catch (failure) {
    if (failure.status !== 401) throw failure;
  }
  if (token === used) token = ""; // too old; refused before anything was done, so the same may be sent again
  if (!token) await login();
  return send(method, path, data, { Authorization: `Bearer ${token}` });
}

module.exports = {
  Failure,
  login,
  get: (path) => call("GET", path),
  post: (path, data) => call("POST", path, data || {}),
};
