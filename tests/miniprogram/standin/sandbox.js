// What the user does in WeChat, through the sandbox's control, and faults that it is asked for.
"use strict";

const { send } = require("./http");

async function call(address, options) {
  const { status, text } = await send(`${process.env.SANDBOX_URL}/_sandbox/${address}`, options);
  if (status >= 400) throw new Error(`${address}: ${status} ${text}`);
  return JSON.parse(text);
}

// What WeChat Pay knows.
const state = () => call("state");

const control = (address, given = {}) =>
  call(address, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(given) });

// The next call that begins so is refused by WeChat Pay, in these words.
const refuse = (path, message) =>
  control("faults", { kind: "refuse", path, method: "POST", status: 403, code: "RULE_LIMIT", message });

// The number of the sign plan that WeChat Pay opens for this package.
async function signPlanOf(given) {
  const url = `${process.env.SANDBOX_URL}/_sandbox/phone/sign-plan?package=${encodeURIComponent(given)}`;
  const { status, text } = await send(url);
  const found = /\/_sandbox\/phone\/sign-plans\/([^/"]+)"/.exec(text);
  if (!found) throw new Error(`WeChat Pay opens nothing for this package: ${status} ${text}`);
  return found[1];
}

module.exports = { control, refuse, signPlanOf, state };
