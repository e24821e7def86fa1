// One request over one connection: a server that closes idle ones cannot make a test fail.
"use strict";

const http = require("node:http");

const ANSWER_MS = 120_000;

// Resolves with {status, headers, text}.
function send(url, { method = "GET", headers = {}, body } = {}) {
  return new Promise((resolve, reject) => {
    const request = http.request(url, { method, headers, agent: false, timeout: ANSWER_MS }, (answer) => {
      const parts = [];
      answer.on("data", (part) => parts.push(part));
      answer.on("error", reject);
      answer.on("end", () => {
        resolve({ status: answer.statusCode, headers: answer.headers, text: Buffer.concat(parts).toString() });
      });
    });
    request.on("timeout", () => request.destroy(new Error(`${method} ${url}: no answer`)));
    request.on("error", reject);
    request.end(body);
  });
}

module.exports = { send };
